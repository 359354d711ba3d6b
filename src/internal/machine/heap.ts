/** Instants in order, each with what it is about; equal instants keep the order in which they came. */
export class TimerHeap<A> {
  private readonly times: Array<number> = []
  private readonly ranks: Array<number> = []
  private readonly items: Array<A> = []
  private added = 0

  get size(): number {
    return this.items.length
  }
  /** Infinity when empty. */
  get least(): number {
    return this.times.length === 0 ? Infinity : this.times[0]!
  }
  /** At the end of time everything is due, but nothing comes of an empty heap. */
  isDue(watermark: number): boolean {
    return this.times.length > 0 && this.times[0]! <= watermark
  }
  push(time: number, item: A): void {
    let at = this.items.length
    this.times.push(time)
    this.ranks.push(this.added++)
    this.items.push(item)
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!this.before(at, parent)) break
      this.swap(at, parent)
      at = parent
    }
  }
  pop(): A | undefined {
    const top = this.items[0]
    const last = this.items.length - 1
    if (last < 0) return undefined
    this.swap(0, last)
    this.times.pop()
    this.ranks.pop()
    this.items.pop()
    for (let at = 0;;) {
      const left = 2 * at + 1
      if (left >= last) break
      const least = left + 1 < last && this.before(left + 1, left) ? left + 1 : left
      if (!this.before(least, at)) break
      this.swap(at, least)
      at = least
    }
    return top
  }
  private before(a: number, b: number): boolean {
    const [x, y] = [this.times[a]!, this.times[b]!]
    return x < y || (x === y && this.ranks[a]! < this.ranks[b]!)
  }
  private swap(a: number, b: number): void {
    exchange(this.times, a, b)
    exchange(this.ranks, a, b)
    exchange(this.items, a, b)
  }
}

const exchange = <A>(array: Array<A>, a: number, b: number): void => {
  const kept = array[a]!
  array[a] = array[b]!
  array[b] = kept
}
