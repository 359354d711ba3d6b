/**
 * The splits of a job's sources: who reads them, and what outlives a restart.
 *
 * A source that can be opened at a position is opened anew for every attempt. Of the others the inlet belongs to the job
 * and is rewound, because nobody else could give the rows again.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { SourceInvalid } from "../../FlowError.ts"
import type { BufferStatus } from "../../JobStatus.ts"
import type { Ambient, Source } from "../../Source.ts"
import type { Graph } from "../plan/graph.ts"
import type { Component } from "../plan/layout.ts"
import type { SourceNode } from "../plan/node.ts"
import { Inlet, pump } from "./inlet.ts"
import type { PartStanding } from "./standing.ts"
import type { SplitStanding } from "./task.ts"

type AnySource = Source<unknown, unknown, never>

/** What a checkpoint says of the splits of one source. */
type Standings = (split: string) => SplitStanding | undefined

export class Inlets {
  private readonly graph: Graph
  private readonly partitions: number
  private readonly prefetchRows: number
  private readonly jobScope: Scope.Scope
  /** Per source its inlets of the current attempt, by split. */
  private readonly current = new Map<string, ReadonlyArray<Inlet>>()
  private readonly splits = new Map<string, ReadonlyArray<string>>()
  private draining = false
  /** Sources whose inlets have taken up where an earlier run left off. */
  private readonly started = new Set<string>()

  constructor(graph: Graph, partitions: number, prefetchRows: number, jobScope: Scope.Scope) {
    this.graph = graph
    this.partitions = partitions
    this.prefetchRows = prefetchRows
    this.jobScope = jobScope
    for (const { node } of graph.operators) {
      if (node._tag !== "Source" || node.source.body._tag !== "Queue") continue
      const { capacity } = node.source.body
      this.current.set(node.name, [new Inlet({ split: "0", capacity, replayable: false })])
    }
  }

  /** The inlets of a source that one partition reads: splits are dealt out in turn. */
  of(source: string, partition: number): ReadonlyArray<Inlet> {
    return this.current.get(source)!.filter((_, i) => i % this.partitions === partition)
  }

  /** The inlet that the application pushes into. */
  queue(source: string): Inlet {
    return this.current.get(source)![0]!
  }

  /** Prepares the inlets of a part for an attempt that goes on from a checkpoint. */
  open(component: Component, from: PartStanding): Effect.Effect<void, unknown, Scope.Scope | Ambient> {
    return Effect.gen({ self: this }, function*() {
      for (const id of component.stages.flatMap(({ operators }) => operators)) {
        const { node } = this.graph.operators[id]!
        if (node._tag === "Source") yield* this.openSource(node, from)
      }
    })
  }

  /** No more rows are taken in: what was offered will be processed, what can be read again will not be. */
  drain(): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.draining = true
      return Effect.forEach([...this.current.values()].flat(), (inlet) => {
        if (inlet.replayable) inlet.cutOff()
        else inlet.close()
        return inlet.announce
      }, { discard: true })
    })
  }

  /** What was offered to queues and nobody has read. */
  get unread(): ReadonlyArray<{ readonly source: string; readonly left: number }> {
    return this.graph.operators.flatMap(({ node }) => {
      if (node._tag !== "Source" || node.source.body._tag !== "Queue") return []
      const left = this.queue(node.name).fill
      return left === 0 ? [] : [{ source: node.name, left }]
    })
  }

  /** The job has ended: whoever waits for a checkpoint waits in vain. */
  get abandon(): Effect.Effect<void> {
    return Effect.forEach([...this.current.values()].flat(), (inlet) => {
      inlet.isAbandoned = true
      return inlet.announce
    }, { discard: true })
  }

  buffers(inlets: ReadonlyArray<{ readonly source: string; readonly inlet: Inlet }>): ReadonlyArray<BufferStatus> {
    return inlets.filter(({ inlet }) => !inlet.isWhole).flatMap(({ inlet, source }): ReadonlyArray<BufferStatus> => {
      const { capacity, dropped, fill, mostRetained, peak, replayable, retained, retention, split } = inlet
      const name = `${source}, split ${split}`
      const waiting = { name, capacity, fill, peak, dropped }
      return replayable
        ? [waiting]
        : [waiting, {
          name: `${name}, kept for a restart`,
          capacity: retention,
          fill: retained,
          peak: mostRetained,
          dropped: 0
        }]
    })
  }

  private openSource(
    node: SourceNode,
    from: PartStanding
  ): Effect.Effect<void, unknown, Scope.Scope | Ambient> {
    return Effect.gen({ self: this }, function*() {
      const source = node.source as AnySource
      const standings: Standings = (split) => from.split(node.name, split)
      const known = this.current.get(node.name)
      if (known !== undefined && !known[0]?.replayable) {
        for (const inlet of known) {
          const cursor = standings(inlet.split)?.cursor ?? 0
          if (this.started.has(node.name)) inlet.rewind(cursor)
          else inlet.startAt(cursor)
        }
        this.started.add(node.name)
      } else {
        const inlets = yield* this.make(node, source, standings)
        this.current.set(node.name, inlets)
        this.started.add(node.name)
        if (this.draining) { for (const inlet of inlets) inlet.cutOff() }
      }
      if (source.perSecond !== undefined) {
        const inlets = this.current.get(node.name)!
        for (const inlet of inlets) {
          // A split that was opened anew counts from the position; every other one goes on counting.
          const start = inlet.replayable && !inlet.isWhole ? 0 : standings(inlet.split)?.cursor ?? 0
          inlet.allow(start)
          yield* Effect.forkScoped(pace(inlet, start, source.perSecond / inlets.length))
        }
      }
    })
  }

  private make(
    node: SourceNode,
    source: AnySource,
    standings: Standings
  ): Effect.Effect<ReadonlyArray<Inlet>, unknown, Scope.Scope | Ambient> {
    const { body } = source
    switch (body._tag) {
      case "Queue":
        return Effect.succeed(this.current.get(node.name)!)
      case "Memory":
        return Effect.succeed(body.splits.map((rows, i) => Inlet.over(String(i), { rows, positionAfter: (n) => n })))
      case "Read": {
        return Effect.gen({ self: this }, function*() {
          const splits = this.splits.get(node.name) ?? (yield* body.splits)
          const twice = splits.find((split, i) => splits.indexOf(split) !== i)
          if (twice !== undefined) {
            return yield* new SourceInvalid({
              source: node.name,
              split: twice,
              problem: "is the name of two splits",
              remedy: "give every split a name of its own: its position is found again by it"
            })
          }
          this.splits.set(node.name, splits)
          const inlets: Array<Inlet> = []
          // Those that outlive an attempt begin to read when all of them are open: there is no second first time.
          const waiting: Array<Effect.Effect<unknown>> = []
          const opened = yield* Scope.fork(this.jobScope)
          for (const split of splits) {
            const inlet = new Inlet({ split, capacity: this.prefetchRows, replayable: body.replayable })
            inlets.push(inlet)
            const standing = standings(split)
            if (!body.replayable) {
              const cursor = standing?.cursor ?? 0
              inlet.startAt(cursor)
              if (cursor > 0 && standing?.ended !== true) {
                yield* Effect.logWarning(
                  `Source "${node.name}" has no positions: it begins anew, after ${cursor} records of an earlier run`
                )
              }
            }
            if (standing?.ended === true || this.draining) inlet.close()
            else if (body.replayable) {
              const reader = yield* body.open(split, standing?.position)
              yield* Effect.forkScoped(pump(node.name, inlet, reader))
            } else {
              const reader = yield* Scope.provide(body.open(split, undefined), opened).pipe(
                Effect.onError((cause) => Scope.close(opened, Exit.failCause(cause)))
              )
              waiting.push(Effect.forkIn(pump(node.name, inlet, reader), this.jobScope))
            }
          }
          yield* Effect.all(waiting, { discard: true })
          return inlets
        })
      }
    }
  }
}

/** Lets rows through at a rate, by the clock. */
const pace = Effect.fnUntraced(function*(inlet: Inlet, start: number, perSecond: number) {
  const began = yield* Clock.currentTimeMillis
  const tickMillis = Math.min(50, Math.max(1, Math.ceil(1000 / perSecond)))
  while (true) {
    yield* Effect.sleep(tickMillis)
    inlet.allow(start + Math.floor(((yield* Clock.currentTimeMillis) - began) * perSecond / 1000))
    yield* inlet.announce
  }
})
