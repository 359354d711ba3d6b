/**
 * A persistent sequence of inputs and their times: O(1) to extend and to join, in order of arrival, and O(n) to read, in
 * order of time. Older versions share their nodes with newer ones.
 */

/** What `Aggregate.collect` accumulates. Classes, so that each shape has one hidden class. */
export type Rope<In> = Items<In> | Extended<In> | Joined<In>

/** A stretch that has been read: in order of time, ties in order of arrival. Made by `inOrder`. */
class Items<out In> {
  readonly _tag = "Items"
  readonly length: number
  readonly latest: number
  readonly items: ReadonlyArray<In>
  readonly times: ReadonlyArray<number>
  constructor(items: ReadonlyArray<In>, times: ReadonlyArray<number>) {
    this.length = items.length
    this.latest = times.at(-1) ?? -Infinity
    this.items = items
    this.times = times
  }
}

export class Extended<out In> {
  readonly _tag = "Extended"
  readonly length: number
  readonly latest: number
  readonly before: Rope<In>
  readonly last: In
  readonly time: number
  constructor(before: Rope<In>, last: In, time: number) {
    this.length = before.length + 1
    this.latest = Math.max(before.latest, time)
    this.before = before
    this.last = last
    this.time = time
  }
}

export class Joined<out In> {
  readonly _tag = "Joined"
  readonly length: number
  readonly latest: number
  readonly left: Rope<In>
  readonly right: Rope<In>
  constructor(left: Rope<In>, right: Rope<In>) {
    this.length = left.length + right.length
    this.latest = Math.max(left.latest, right.latest)
    this.left = left
    this.right = right
  }
}

export const noItems = new Items<never>([], [])

export const isRope = (u: unknown): u is Rope<never> =>
  u instanceof Items || u instanceof Extended || u instanceof Joined

/** Most streams are in order, or nearly: what already is costs one pass. `sort` is stable, which keeps arrival for ties. */
export const inOrder = <In>(items: ReadonlyArray<In>, times: ReadonlyArray<number>): Items<In> => {
  let i = 1
  while (i < times.length && times[i - 1]! <= times[i]!) i++
  if (i >= times.length) return new Items(items, times)
  const order = times.map((_, i) => i).sort((a, b) => times[a]! - times[b]!)
  return new Items(order.map((i) => items[i]!), order.map((i) => times[i]!))
}

/** From the back, as extended ropes point backwards, and with its own stack: a rope is as deep as it is long. */
const itemsOf = <In>(rope: Rope<In>): Items<In> => {
  if (rope._tag === "Items") return rope
  const items = new Array<In>(rope.length)
  const times = new Array<number>(rope.length)
  const waiting: Array<Rope<In>> = []
  let at = rope.length
  let node: Rope<In> | undefined = rope
  while (node !== undefined) {
    switch (node._tag) {
      case "Extended":
        items[--at] = node.last
        times[at] = node.time
        node = node.before
        break
      case "Joined":
        waiting.push(node.left)
        node = node.right
        break
      case "Items":
        at -= node.length
        for (let i = 0; i < node.length; i++) {
          items[at + i] = node.items[i]!
          times[at + i] = node.times[i]!
        }
        node = waiting.pop()
    }
  }
  return inOrder(items, times)
}

/** Those of the earliest times. */
export const earliest = <In>(rope: Rope<In>, atMost: number): Items<In> => {
  const all = itemsOf(rope)
  return all.length <= atMost ? all : new Items(all.items.slice(0, atMost), all.times.slice(0, atMost))
}
