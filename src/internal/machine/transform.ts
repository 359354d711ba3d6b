/**
 * The operators without state. Classes, because a shared shape is what keeps their call sites fast.
 */
import * as Option from "effect/Option"
import type { SplitNode, TransformNode } from "../plan/node.ts"
import type { Host, Receiver, Site } from "./operator.ts"

abstract class Transform implements Receiver {
  protected readonly site: Site
  protected readonly host: Host
  protected readonly f: (value: unknown) => unknown
  constructor(site: Site, host: Host, f: (value: unknown) => unknown) {
    this.site = site
    this.host = host
    this.f = f
  }
  protected failed(error: unknown, value: unknown, time: number, key: unknown): void {
    this.host.reject(this.site, { error, value, time, key })
  }
  abstract push(value: unknown, time: number, key: unknown): void
}

abstract class Chained extends Transform {
  protected readonly next: Receiver
  constructor(site: Site, host: Host, f: (value: unknown) => unknown, next: Receiver) {
    super(site, host, f)
    this.next = next
  }
}

class MapOperator extends Chained {
  push(value: unknown, time: number, key: unknown): void {
    this.site.counts.in++
    let out: unknown
    try {
      out = this.f(value)
    } catch (error) {
      return this.failed(error, value, time, key)
    }
    this.site.counts.out++
    this.next.push(out, time, key)
  }
}

class FilterOperator extends Chained {
  push(value: unknown, time: number, key: unknown): void {
    this.site.counts.in++
    let keep: unknown
    try {
      keep = this.f(value)
    } catch (error) {
      return this.failed(error, value, time, key)
    }
    if (keep === true) {
      this.site.counts.out++
      this.next.push(value, time, key)
    }
  }
}

class FilterMapOperator extends Chained {
  push(value: unknown, time: number, key: unknown): void {
    this.site.counts.in++
    let out: Option.Option<unknown>
    try {
      out = this.f(value) as Option.Option<unknown>
    } catch (error) {
      return this.failed(error, value, time, key)
    }
    if (Option.isSome(out)) {
      this.site.counts.out++
      this.next.push(out.value, time, key)
    }
  }
}

class FlatMapOperator extends Chained {
  push(value: unknown, time: number, key: unknown): void {
    this.site.counts.in++
    let out: ReadonlyArray<unknown>
    try {
      const made = this.f(value) as Iterable<unknown>
      // All of it before any of it goes on: user code runs before the record has any effect.
      out = Array.isArray(made) ? made : Array.from(made)
    } catch (error) {
      return this.failed(error, value, time, key)
    }
    this.site.counts.out += out.length
    for (let i = 0; i < out.length; i++) this.next.push(out[i], time, key)
  }
}

class SplitOperator implements Receiver {
  private readonly site: Site
  private readonly host: Host
  private readonly tests: ReadonlyArray<(value: unknown) => boolean>
  private readonly branches: ReadonlyArray<Receiver>
  private readonly otherwise: Receiver
  constructor(site: Site, host: Host, node: SplitNode, receiverOf: (output: string) => Receiver) {
    this.site = site
    this.host = host
    this.tests = node.branches.map(([, test]) => test)
    this.branches = node.branches.map(([name]) => receiverOf(name))
    this.otherwise = receiverOf("otherwise")
  }
  push(value: unknown, time: number, key: unknown): void {
    this.site.counts.in++
    let branch = 0
    try {
      while (branch < this.tests.length && this.tests[branch]!(value) !== true) branch++
    } catch (error) {
      return this.host.reject(this.site, { error, value, time, key })
    }
    this.site.counts.out++
    const next = branch < this.branches.length ? this.branches[branch]! : this.otherwise
    next.push(value, time, key)
  }
}

export const split = (site: Site, host: Host, node: SplitNode, receiverOf: (output: string) => Receiver): Receiver =>
  new SplitOperator(site, host, node, receiverOf)

export const transform = (site: Site, host: Host, node: TransformNode, next: Receiver): Receiver => {
  switch (node.kind) {
    case "map":
      return new MapOperator(site, host, node.f, next)
    case "filter":
      return new FilterOperator(site, host, node.f, next)
    case "filterMap":
      return new FilterMapOperator(site, host, node.f, next)
    case "flatMap":
      return new FlatMapOperator(site, host, node.f, next)
  }
}
