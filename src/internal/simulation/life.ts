/** One life of a simulated job: its strand, its calls to the world outside, and the faults that strike them. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { type Chance, chance, mixed } from "./chance.ts"
import type { FolderDisk, Loss } from "./disk.ts"
import { drawAtCall, drawEnd, drawRates, type End, type Fault, type Faults, type Place } from "./plan.ts"
import { Strand, type Universe } from "./universe.ts"

/** What a call fails with where the simulation makes it fail. */
export class SimulatedFault extends Schema.TaggedError<SimulatedFault>("millrace/SimulatedFault")("SimulatedFault", {
  call: Schema.String
}) {
  override get message() {
    return `the simulation has made this fail: ${this.call}`
  }
}

/** A call to something outside the job. */
export interface Call {
  /** Unique for what is done, the same when it is done again: `commit 3`. */
  readonly name: string
  /** `the store`, `sink "revenue"`. */
  readonly who: string
  /** `committed epoch 3`. */
  readonly did: string
  /** `commit epoch 3`. */
  readonly doing: string
  readonly kind: "store" | "sink" | "source"
  readonly writes: boolean
}

/** Calls of one run that chance may strike, at most. */
const mostAtCalls = 60

/** What all lives of a run share. */
export class History {
  /** What has happened, in words, in order. */
  readonly log: Array<string> = []
  /** The faults that have struck, with what is needed to make them strike again. */
  readonly struck: Array<Fault> = []
  /** Where a crash between two operations could be put instead: at one of these calls. */
  readonly nearby = new Map<Fault, ReadonlyArray<Place>>()
  readonly seen: Record<string, number> = {}
  hash = 0
  readonly universe: Universe
  readonly disk: FolderDisk
  /** Undefined where a plan says everything. */
  readonly chance: { readonly faults: Faults; readonly rates: Faults; readonly next: Chance } | undefined
  readonly planned: ReadonlyArray<Fault>
  /** Those that were paused and are to go on. */
  readonly asleep: Array<Life> = []
  /** The job has sinks that nothing fences. */
  canPause = true

  constructor(
    universe: Universe,
    disk: FolderDisk,
    seed: number,
    faults: Faults | undefined,
    planned: ReadonlyArray<Fault>
  ) {
    this.universe = universe
    this.disk = disk
    this.planned = planned
    this.chance = faults && { faults, rates: drawRates(seed, faults), next: chance(seed, 3) }
  }

  note(marker: string): void {
    this.seen[marker] = (this.seen[marker] ?? 0) + 1
  }

  say(words: string): void {
    this.log.push(words)
    this.hash = mixed(this.hash, words)
  }
}

/** How a life was over. */
export type Over = "crashed" | "paused"

export class Life {
  readonly number: number
  readonly strand: Strand
  /** Another life has taken the job over. */
  isOvertaken = false
  /** The store has answered that the job is its own. Before that, going on would be taking the job over. */
  hasAcquired = false
  /** Something was done to it that may make it fail. */
  hasSuffered = false
  onOver: ((how: Over) => void) | undefined
  onStop: (() => void) | undefined
  /** Asked before a crash. */
  onCrash: (() => void) | undefined
  private readonly history: History
  private readonly isFinal: boolean
  private readonly planned: ReadonlyArray<Fault>
  private readonly end: End | undefined
  private readonly counts = new Map<string, number>()
  private calls = 0
  private writes = 0
  /** Under way, since when. */
  private readonly open = new Map<symbol, { readonly call: Call; readonly since: number }>()
  private recent: ReadonlyArray<Place> = []
  /** What strikes at an operation. */
  private readonly dueAt: Array<{ readonly at: number; readonly fault: Fault }> = []
  private wakers: Array<{ readonly after: number; readonly life: Life }> = []

  constructor(history: History, number: number, isFinal: boolean) {
    this.history = history
    this.number = number
    this.isFinal = isFinal
    this.planned = history.planned.filter(({ life }) => life === number)
    this.end = history.chance === undefined || isFinal
      ? undefined
      : drawEnd(history.chance.next, history.chance.faults)
    const operations = this.dueAt
    for (const fault of this.planned) {
      if ("operation" in fault.at) operations.push({ at: fault.at.operation, fault })
    }
    if (this.end?.at === "operation") {
      const at = { operation: this.end.count }
      operations.push({ at: this.end.count, fault: { life: number, at, ...this.end.fault } })
    }
    this.strand = new Strand(history.universe, (operation) => {
      for (const { at, fault } of operations) if (at === operation) this.strike(fault, undefined)
      if (this.wakers.length > 0) {
        for (const { life } of this.wakers.filter(({ after }) => after <= operation)) life.wake()
        this.wakers = this.wakers.filter(({ after }) => after > operation)
      }
    })
  }

  /** What it waits for outside itself. */
  get waitsFor(): ReadonlyArray<string> {
    return Array.from(
      this.open.values(),
      ({ call, since }) =>
        `${call.who} has not answered for ${Math.round(this.history.universe.nowMillis - since)} ms: ${call.doing}`
    )
  }

  /** When this one has made so many operations, that one goes on. */
  wakes(life: Life, after: number): void {
    this.wakers.push({ life, after })
  }

  wake(): void {
    const at = this.history.asleep.indexOf(this)
    if (at < 0) return
    this.history.asleep.splice(at, 1)
    this.history.say(`life ${this.number}, which was paused, goes on`)
    this.history.note("a paused life went on after it was taken over")
    this.history.universe.soon(() => this.strand.release())
  }

  private during(): string {
    const calls = Array.from(this.open.values(), ({ call }) => call)
    const call = calls.findLast(({ kind }) => kind !== "source") ?? calls.at(-1)
    return call === undefined ? "" : `while ${call.who} is to ${call.doing}`
  }

  /** Ends it, holds it or stops it, here and now. */
  private strike(fault: Fault, where: string | undefined): void {
    const { history } = this
    const { does, loss } = fault
    const isPause = does === "pause" && history.canPause && this.hasAcquired
    const struck: Fault = does === "pause" && !isPause ? { life: fault.life, at: fault.at, does: "crash" } : fault
    history.struck.push(struck)
    if ("operation" in fault.at) history.nearby.set(struck, this.recent)
    const during = this.during()
    const place = where ?? (during === "" ? "between two operations" : during)
    if (does === "stop") {
      history.say(`life ${this.number}: is told to stop`)
      history.note("stopped in good order")
      // Not within an operation of somebody else.
      history.universe.soon(() => this.onStop?.())
      return
    }
    const lost: Loss = loss ?? "nothing lost"
    const taken = isPause || lost === "nothing lost" ? "" : ` (disk: ${lost})`
    history.say(`life ${this.number}: ${isPause ? "pauses" : "crash"} ${place}${taken}`)
    history.note(isPause ? "pause" : "crash")
    const kind = where !== undefined ? "around a call" : "call" in fault.at ? "within a call" : "between two operations"
    history.note(`${isPause ? "pause" : "crash"} ${kind}`)
    this.onCrash?.()
    if (isPause) {
      this.strand.hold()
      this.isOvertaken = true
      history.asleep.push(this)
      this.wakesAfter = fault.wakes ?? 1
    } else {
      this.strand.end()
      if (lost !== "nothing lost" && history.asleep.length === 0) {
        history.disk.reboot(lost)
        history.note(`disk: ${lost}`)
      }
    }
    history.universe.soon(() => this.onOver?.(isPause ? "paused" : "crashed"))
  }

  wakesAfter = 0

  /** What strikes around a call. */
  private faultsAt(call: Call, nth: number): ReadonlyArray<Fault> {
    const { chance, struck } = this.history
    if (this.isFinal || this.isOvertaken) return []
    if (chance === undefined) {
      return this.planned.filter(({ at }) => "call" in at && at.call === call.name && at.nth === nth)
    }
    const { end } = this
    const at = (when: "before" | "after") => ({ call: call.name, nth, when })
    const own = { life: this.number }
    const found: Array<Fault> = []
    const isDue = end?.at === "call" && end.count === (end.writes ? this.writes : this.calls)
    if (isDue && (call.writes || !end.writes)) {
      found.push({ ...own, at: { call: call.name, nth, ...end.place }, ...end.fault })
    }
    if (struck.length < mostAtCalls) {
      for (const { when, ...fault } of drawAtCall(chance.next, chance.rates)) {
        found.push({ ...own, at: at(when), ...fault })
      }
    }
    return found
  }

  /** Comes around a call. `fail` is how its caller is told that it has failed. */
  around<A, E, R>(
    call: Call,
    effect: Effect.Effect<A, E, R>,
    fail: (fault: SimulatedFault) => Effect.Effect<never, E>
  ): Effect.Effect<A, E, R> {
    return Effect.suspend(() => {
      const { history } = this
      const nth = (this.counts.get(call.name) ?? 0) + 1
      this.counts.set(call.name, nth)
      this.calls++
      if (call.writes) this.writes++
      history.hash = mixed(history.hash, call.name)
      const place = (when: "before" | "after"): Place => ({ call: call.name, nth, when })
      this.recent = [place("before"), ...this.recent].slice(0, 4)
      const faults = this.faultsAt(call, nth)
      const key = Symbol()
      const done = Effect.sync(() => {
        this.open.delete(key)
        this.recent = [place("after"), ...this.recent].slice(0, 4)
      })
      this.open.set(key, { call, since: history.universe.nowMillis })
      for (const fault of faults) {
        if (!("call" in fault.at) || fault.at.when !== "within") continue
        history.universe.at((fault.at.micros ?? 1) / 1000, () => {
          if (this.strand.isGoing) this.strike(fault, undefined)
        })
      }
      if (faults.length === 0) return Effect.ensuring(effect, done)
      return Effect.ensuring(this.suffered(call, effect, fail, faults), done)
    })
  }

  private suffered<A, E, R>(
    call: Call,
    effect: Effect.Effect<A, E, R>,
    fail: (fault: SimulatedFault) => Effect.Effect<never, E>,
    faults: ReadonlyArray<Fault>
  ): Effect.Effect<A, E, R> {
    const { history } = this
    const when = (at: Place) => "call" in at ? at.when : undefined
    const failing = Effect.suspend(() => fail(new SimulatedFault({ call: `${call.who}: ${call.doing}` })))
    const sleeping = (millis: number | undefined) => this.strand.clock.sleep(Duration.millis(millis ?? 0))
    const say = (fault: Fault, words: string) => {
      history.struck.push(fault)
      history.say(`life ${this.number}: ${words}`)
      history.note(`${fault.does}: ${call.kind}`)
      this.hasSuffered = true
    }
    const ends = (fault: Fault) => fault.does === "crash" || fault.does === "pause"
    return Effect.gen({ self: this }, function*() {
      for (const fault of faults) {
        if (when(fault.at) !== "before") continue
        const { millis } = fault
        switch (fault.does) {
          case "crash":
          case "pause":
            this.strike(fault, `before ${call.who} is to ${call.doing}`)
            yield* Effect.yieldNow
            break
          case "slow":
          case "hang":
            say(fault, `${call.who} takes ${millis} ms to ${call.doing}`)
            yield* sleeping(millis)
            break
          case "fail":
            say(fault, `${call.who} fails to ${call.doing}`)
            return yield* failing
          case "fail late":
            say(fault, `${call.who} does not ${call.doing}, and is given up after ${millis} ms`)
            yield* sleeping(millis)
            return yield* failing
          case "move the clock":
            say(fault, `the clock moves by ${millis} ms, before ${call.who} is to ${call.doing}`)
            history.universe.jump(millis ?? 0)
            break
        }
      }
      const exit = yield* Effect.exit(effect)
      for (const fault of faults) {
        if (when(fault.at) !== "after") continue
        if (ends(fault)) {
          this.strike(fault, `after ${call.who} ${call.did}`)
          yield* Effect.yieldNow
        } else if (fault.does === "lose the answer") {
          say(fault, `${call.who} ${call.did} and answered that it failed`)
          yield* sleeping(fault.millis)
          return yield* failing
        }
      }
      return yield* exit
    })
  }
}
