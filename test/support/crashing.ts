/**
 * Crashes a job at every side effect.
 *
 * A `Power` is the electricity of one life of a job. Everything outside the job that it can change is wrapped: its store
 * (`store`, or `database` beneath one), its sinks (`sink`), its sources (`source`), the disk (`fileSystem`). Every call to
 * them has two points: just before it happens and just after it has happened. At the n-th point of a life the power fails:
 * the call never answers, whether it is done or not, and no later call of this life does anything any more, not even
 * that of a finalizer. What outlives the job stays as it is, and a new life is launched on it with a power of its own.
 *
 * ```ts
 * const power = await everyPoint((n) => run(livesOf(world(), [n])))
 * ```
 *
 * tries n = 1, 2, 3 … until a life ends without reaching its point. A test makes a new world for every n, and builds its
 * job anew for every life, around the power of that life: an old life must find nothing that works.
 *
 * A power that is made to `pause` comes back with `wake`: then the old life goes on in the middle of a call, as a process
 * does that the system had stopped, after another one has taken its job over.
 */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import type { CheckpointStore, Flow, Sink, Source, Sqlite } from "millrace"

type Store = CheckpointStore.CheckpointStore["Service"]

/** Comes around a call to the world outside. */
export type Around = <A, E, R>(call: string, effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>

/** The electricity of one life. */
export class Power {
  /** The points that were reached, in order: `before commit 3`. */
  readonly points: Array<string> = []
  private readonly end: number | ((point: string) => boolean)
  private readonly lost = Deferred.makeUnsafe<void>()
  private readonly back = Deferred.makeUnsafe<void>()
  private isOut = false
  private isFailed = false

  /** Fails at the n-th point, or at the first one that fits; never, if nothing is said. */
  constructor(end: number | ((point: string) => boolean) = Infinity) {
    this.end = end
  }

  /** Whether it has failed at all. */
  get hasFailed(): boolean {
    return this.isFailed
  }

  /** Waits until it fails. */
  get failed(): Effect.Effect<void> {
    return Deferred.await(this.lost)
  }

  /** The power is back, and everybody goes on where they stood. */
  wake(): void {
    this.isOut = false
    Deferred.doneUnsafe(this.back, Effect.void)
  }

  /** Fails here and now. `soon`: nobody is told at once, because a scheduler calls this where no fiber can go on. */
  fail(soon: (tell: () => void) => void = (tell) => tell()): void {
    if (this.isFailed) return
    this.isOut = this.isFailed = true
    soon(() => Deferred.doneUnsafe(this.lost, Effect.void))
  }

  /** A point in the midst of code that cannot wait: a function of the user, a choice of the scheduler. */
  reach(point: string): void {
    if (this.isOut) return
    const number = this.points.push(point)
    if (typeof this.end === "number" ? number === this.end : !this.isFailed && this.end(point)) this.fail()
  }

  readonly around: Around = (call, effect) =>
    Effect.gen({ self: this }, function*() {
      this.reach(`before ${call}`)
      yield* this.on
      const exit = yield* Effect.exit(effect)
      this.reach(`after ${call}`)
      yield* this.on
      return yield* exit
    })

  /** Waits for the power, which may never come back. */
  private get on(): Effect.Effect<void> {
    return Effect.suspend(() => this.isOut ? Deferred.await(this.back) : Effect.void)
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// what is wrapped
// ---------------------------------------------------------------------------------------------------------------------

/** A store in which every call is counted. */
export const store = (around: Around, inner: Store): Store => ({
  isDurable: inner.isDurable,
  database: inner.database,
  acquire: (job) => around("acquire", inner.acquire(job)),
  commit: (commit) => around(`commit ${commit.epoch}`, inner.commit(commit)),
  list: (job) => around("list", inner.list(job)),
  manifest: (job, epoch) => around(`manifest ${epoch}`, inner.manifest(job, epoch)),
  blob: (job, id) => around(`blob ${id}`, inner.blob(job, id)),
  remove: (job, attempt, drop) => around("remove", inner.remove(job, attempt, drop))
})

/** A database of which every transaction is counted. A store and sinks must be given the same one. */
export const database = (around: Around, inner: Sqlite.Database): Sqlite.Database => ({
  path: inner.path,
  transaction: (statements) => around("transaction", inner.transaction(statements))
})

/** A sink in which every call is counted: of rows that are written at once, and of whole epochs. */
export const sink = <A, E, R, G extends Sink.Guarantee, C extends Flow.Changes>(
  around: Around,
  name: string,
  inner: Sink.Sink<A, E, R, G, C>
): Sink.Sink<A, E, R, G, C> => {
  const { open, openEpochs } = inner
  const own: Pick<Sink.Sink<A, E, R, G, C>, "open" | "openEpochs"> = {
    open: (opening) => Effect.map(around(`open ${name}`, open(opening)), (writer) => writing(around, name, writer)),
    openEpochs: openEpochs &&
      ((opening) =>
        Effect.map(around(`open ${name}`, openEpochs(opening)), (writer): Sink.EpochWriter<A, E> => {
          const { position } = writer
          return {
            ...writer,
            apply: (application) => around(`apply ${application.marker.epoch} to ${name}`, writer.apply(application)),
            ...position === undefined ? {} : { position: standing(around, name, position) }
          }
        }))
  }
  return Object.assign(Object.create(Object.getPrototypeOf(inner)), inner, own)
}

const writing = <A, E>(around: Around, name: string, { end, write }: Sink.Writer<A, E>): Sink.Writer<A, E> => ({
  write: (rows) => around(`write to ${name}`, write(rows)),
  ...end === undefined ? {} : { end: around(`end ${name}`, end) }
})

const standing = <E>(around: Around, name: string, position: Sink.SinkPosition<E>): Sink.SinkPosition<E> => {
  const { begin, current, isVolatile, rewind } = position
  return {
    isVolatile,
    current: around(`look where ${name} stands`, current),
    begin: (marker, from) => around(`begin ${name}`, begin(marker, from)),
    ...rewind === undefined ? {} : { rewind: (to) => around(`rewind ${name}`, rewind(to)) }
  }
}

/** A source that is read, in which every pull is counted. One in memory is not outside the job, and stays as it is. */
export const source = <A, E, R>(
  around: Around,
  name: string,
  inner: Source.Source<A, E, R>
): Source.Source<A, E, R> => {
  const { body } = inner
  if (body._tag !== "Read") return inner
  const own: Source.Body<A, E, R> = {
    ...body,
    open: (split, position) =>
      Effect.map(around(`open ${name}/${split}`, body.open(split, position)), ({ pull }): Source.Reader<A, E> => ({
        pull: (max) => around(`pull ${name}/${split}`, pull(max))
      }))
  }
  return Object.assign(Object.create(Object.getPrototypeOf(inner)), inner, { body: own })
}

/** A file system in which every change is counted; reading takes no count, but is over with the power, too. */
export const fileSystem = (around: Around, inner: FileSystem.FileSystem): FileSystem.FileSystem => {
  const file = (path: string, opened: FileSystem.File): FileSystem.File => ({
    ...opened,
    sync: around(`sync ${path}`, opened.sync),
    truncate: (length) => around(`truncate ${path}`, opened.truncate(length)),
    writeAll: (bytes) => around(`write ${path}`, opened.writeAll(bytes))
  })
  return FileSystem.make({
    ...inner,
    makeDirectory: (path, options) => around(`make ${path}`, inner.makeDirectory(path, options)),
    rename: (from, to) => around(`rename ${from}`, inner.rename(from, to)),
    copyFile: (from, to) => around(`copy ${from}`, inner.copyFile(from, to)),
    remove: (path, options) => around(`remove ${path}`, inner.remove(path, options)),
    truncate: (path, length) => around(`truncate ${path}`, inner.truncate(path, length)),
    open: (path, options) => {
      const opened = Effect.map(inner.open(path, options), (opened) => file(path, opened))
      return (options?.flag ?? "r") === "r" ? opened : around(`open ${path}`, opened)
    }
  })
}

// ---------------------------------------------------------------------------------------------------------------------
// lives
// ---------------------------------------------------------------------------------------------------------------------

/** What outlives a job, and how to launch the job on it. */
export interface World {
  /** One life of the job, to its end: everything that it touches is wrapped in this power. `life` counts from 0. */
  readonly life: (power: Power, life: number) => Effect.Effect<unknown, unknown>
  /** What happens to the world before the power is back. */
  readonly reboot?: () => void
}

/** A life until it ends or its power fails. Whatever still holds on to it then is let go, not waited for. */
export const live = <A, E>(power: Power, life: Effect.Effect<A, E>): Effect.Effect<Option.Option<A>, E> =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkDetach(life)
    yield* Effect.raceFirst(Fiber.await(fiber), power.failed)
    if (!power.hasFailed) return Option.some(yield* Fiber.join(fiber))
    yield* Effect.forkDetach(Fiber.interrupt(fiber))
    return Option.none()
  })

/** Lives with crashes at these points, one after the other, and the last one without. Answers with their powers. */
export const livesOf = (
  { life, reboot }: World,
  crashes: ReadonlyArray<number>
): Effect.Effect<ReadonlyArray<Power>, unknown> =>
  Effect.gen(function*() {
    const powers: Array<Power> = []
    for (const end of [...crashes, Infinity]) {
      const power = new Power(end)
      powers.push(power)
      yield* live(power, life(power, powers.length - 1))
      if (!power.hasFailed) return powers
      reboot?.()
    }
    return powers
  })

/**
 * Tries n = 1, 2, 3 … for as long as the life that is to end at its n-th point does; answers with the power of the one that
 * did not. `attempt` answers with the power of that life, or undefined where there was no such life.
 */
export const everyPoint = async (
  attempt: (n: number) => Promise<Power | undefined>,
  last = Infinity
): Promise<Power | undefined> => {
  for (let n = 1; n <= last; n++) {
    const power = await attempt(n)
    if (power?.hasFailed !== true) return power
  }
  return undefined
}
