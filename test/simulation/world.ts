/** What outlives a job under a schedule: its store, its sinks, the disk below; and who watches over them. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as TxRef from "effect/TxRef"
import { type CheckpointStore, Sink, Source } from "millrace"
import { decodeManifest, type Manifest } from "../../src/internal/checkpoint/manifest.ts"
import { fileStore } from "../../src/internal/stores/fileStore.ts"
import { memoryStore } from "../../src/internal/stores/memoryStore.ts"
import { Ledger, type Store } from "../laws/lives.ts"
import { build, type Built, type Row, rowSchema, text } from "../laws/randomFlows.ts"
import type { Received } from "../laws/running.ts"
import * as Crashing from "../support/crashing.ts"
import { FolderDisk } from "../support/folderDisk.ts"
import type { Seen } from "./markers.ts"
import type { Scenario } from "./scenarios.ts"
import type { Troubles } from "./troubles.ts"

/** The files of a life, as its power lets it see them. */
export interface Files {
  power: Crashing.Power
  readonly fileSystem: FileSystem.FileSystem
  /** Undefined where checkpoints are in memory. */
  readonly store: Store | undefined
}

/** A life as the world knows it. */
export interface Alive {
  readonly power: Crashing.Power
  readonly troubles: Troubles
  readonly files: Files
  /** Operators fail after so many records, counted down. */
  readonly faults: Set<number>
  /** Others have taken its job. */
  isZombie: boolean
  /** A source was opened: recovery is over. */
  hasRead: boolean
}

const damagedBytes = (bytes: Uint8Array): Uint8Array => {
  const copy = bytes.slice()
  const at = copy.length >> 1
  if (copy.length > 0) copy[at] = copy[at]! ^ 0x20
  return copy
}

const fileOf = (name: string): string => `/results/${name.replaceAll(" ", "-")}.ndjson`

export class World {
  readonly seen: Seen
  readonly scenario: Scenario
  readonly disk = new FolderDisk()
  readonly damagedEpochs = new Set<number>()
  readonly damagedBlobs = new Set<string>()
  private readonly memory = memoryStore()
  private readonly next: (n: number) => number
  private readonly ledgers = new Map<string, Ledger>()
  private readonly names: ReadonlyArray<string>
  private readonly furthest = new Map<string, number>()
  /** Epochs and the digests that somebody was told had failed, or was told nothing of. */
  private readonly doubtful = new Set<string>()
  /** When commits were tried, and when they were told that they had failed, by attempt and epoch. */
  readonly tries = new Map<string, Array<{ readonly from: number; to: number }>>()
  /** Manifests of this run, in the order of their commits. */
  readonly committed: Array<Manifest> = []
  /** How many rations there were for sources. */
  private readonly rations = TxRef.makeUnsafe(0)
  /** As it is on the disk or in memory, with nothing in between. */
  raw: Store

  private readonly now: () => number

  constructor(scenario: Scenario, seen: Seen, next: (n: number) => number, now: () => number) {
    this.now = now
    this.scenario = scenario
    this.next = next
    this.seen = seen
    const { outlets } = build(scenario.spec)
    this.names = [...outlets.map(({ name }) => name), "dead letters"]
    this.raw = this.memory
  }

  /** Everything that is loaded or made by a promise is made before the run, which has no other time than its own. */
  async files(): Promise<Files> {
    const files = { power: new Crashing.Power() } as { -readonly [K in keyof Files]: Files[K] }
    // The power that the life is given later.
    const around: Crashing.Around = (call, effect) =>
      Effect.suspend(() => files.power.around(call.replace(/staging-\d+-\d+|manifest-[\w-]+/, "…"), effect))
    files.fileSystem = Crashing.fileSystem(around, this.disk.fileSystem)
    files.store = this.scenario.store === "in memory" ? undefined : await this.storeOn(files.fileSystem)
    return files
  }

  async prepare(): Promise<void> {
    if (this.scenario.store === "in files") this.raw = await this.storeOn(this.disk.fileSystem)
  }

  private storeOn(fileSystem: FileSystem.FileSystem): Promise<Store> {
    return Effect.runPromise(
      fileStore("/store").pipe(Effect.provideService(FileSystem.FileSystem, fileSystem)) as Effect.Effect<Store>
    )
  }

  // -------------------------------------------------------------------------------------------------------------------
  // the store
  // -------------------------------------------------------------------------------------------------------------------

  /** The store as a life has it. */
  store(alive: Alive): Store {
    const inner = this.watched(alive, alive.files.store ?? this.memory)
    const powered = Crashing.store(alive.power.around, inner)
    const { around } = alive.troubles
    const troubled = Crashing.store(around, powered)
    return {
      ...troubled,
      commit: (commit) =>
        Effect.suspend(() => {
          const key = `${commit.attempt} ${commit.epoch}`
          const known = this.tries.get(key) ?? []
          this.tries.set(key, known)
          const own = { from: this.now(), to: Infinity }
          const tries = known.push(own)
          if (tries >= 3) this.seen.add("ambiguous: a commit was tried three times or more")
          return troubled.commit(commit).pipe(
            Effect.tap(() =>
              Effect.sync(() => {
                if (tries > 1 && this.doubtful.has(key)) {
                  this.seen.add("ambiguous: a commit was tried again and done then")
                }
              })
            ),
            Effect.tapError(() =>
              Effect.sync(() => {
                own.to = this.now()
                this.doubtful.add(key)
              })
            )
          )
        }),
      list: (job) =>
        Effect.tap(troubled.list(job), (all) =>
          Effect.sync(() => {
            const [head] = all
            if (head !== undefined && this.doubtful.has(`${head.attempt} ${head.epoch}`)) {
              this.seen.add("ambiguous: a commit whose answer was lost was found done")
            }
          }))
    }
  }

  private watched(alive: Alive, inner: Store): Store {
    return {
      ...inner,
      commit: (commit) =>
        inner.commit(commit).pipe(
          Effect.tap(() => Effect.sync(() => this.noteCommit(commit))),
          Effect.tapError((error) =>
            Effect.sync(() => {
              if (alive.isZombie && error._tag === "Fenced") this.seen.add("zombie: its commit was refused")
            })
          )
        ),
      manifest: (job, epoch) =>
        Effect.map(
          inner.manifest(job, epoch),
          Option.map((bytes) => this.damagedEpochs.has(epoch) ? damagedBytes(bytes) : bytes)
        ),
      blob: (job, id) =>
        Effect.map(
          inner.blob(job, id),
          Option.map((blob) => this.damagedBlobs.has(id) ? { ...blob, bytes: damagedBytes(blob.bytes) } : blob)
        )
    }
  }

  private noteCommit({ drop, manifest }: CheckpointStore.Commit): void {
    const made = decodeManifest(manifest)
    const { seen } = this
    if (drop.epochs.length > 0) seen.add("retention: an epoch was dropped")
    const bases = new Set(this.committed.map(({ chain }) => chain[0]?.epoch))
    if (drop.epochs.some((epoch) => bases.has(epoch))) seen.add("retention: a base was dropped")
    const before = this.committed.at(-1)
    if (before !== undefined && before.chain.length > 1 && made.chain.length === 1) seen.add("from: a base made anew")
    if (made.chain.length >= 8) seen.add("from: a chain of eight segments or more")
    if (made.name !== undefined) seen.add("savepoint: taken")
    this.committed.push(made)
  }

  /** Damages the newest epochs. What only they name: older ones stay sound. */
  damage(job: string, count: number, what: "manifest" | "blob"): Effect.Effect<boolean, unknown> {
    return Effect.gen({ self: this }, function*() {
      const epochs = yield* this.raw.list(job)
      for (const { epoch } of epochs.slice(0, count)) {
        const manifest = decodeManifest(yield* Effect.flatMap(this.raw.manifest(job, epoch), Effect.fromOption))
        const own = manifest.parts.flatMap(({ flight }) => flight).concat(manifest.chain.flatMap(({ blobs }) => blobs))
          .map(({ id }) => id).filter((id) => id.startsWith(`${epoch}.`))
        if (what === "blob" && own.length > 0) this.damagedBlobs.add(own[0]!)
        else this.damagedEpochs.add(epoch)
      }
      return epochs.length > 0
    })
  }

  /** The store is brought back from a copy. */
  repair(): void {
    this.damagedEpochs.clear()
    this.damagedBlobs.clear()
  }

  // -------------------------------------------------------------------------------------------------------------------
  // sinks, sources, operators
  // -------------------------------------------------------------------------------------------------------------------

  /** The job as a life has it. */
  built(alive: Alive): Built {
    const { habits, spec } = this.scenario
    let records = 0
    return build(spec, {
      sink: (name) => this.sink(name, alive),
      deadLetters: this.sink("dead letters", alive),
      source: (name, splits) => this.source(name, splits, alive),
      touch: () => {
        if (!alive.faults.delete(records++)) return
        throw new Error("the operator fails")
      },
      retries: habits.retries
    })
  }

  private sink(name: string, alive: Alive): Sink.Sink<unknown, unknown> {
    const { around } = alive.troubles
    if (this.scenario.sinks === "files") {
      // The disk is powered already; troubles come between the job and the sink.
      const file = Sink.ndjson<unknown>(fileOf(name))
      return Crashing.sink(
        around,
        name,
        Crashing.sink(alive.power.around, name, this.observed(name, alive, written(file)))
      )
    }
    const ledger = this.ledgers.get(name) ?? new Ledger()
    this.ledgers.set(name, ledger)
    return Crashing.sink(around, name, Crashing.sink(alive.power.around, name, this.observed(name, alive, ledger.sink)))
  }

  /** A sink whose answers are noted. */
  private observed(name: string, alive: Alive, inner: Sink.Sink<unknown, unknown>): Sink.Sink<unknown, unknown> {
    const { seen } = this
    return Sink.transactional<unknown, unknown>({
      description: inner.description,
      open: () => Effect.die("nobody has asked for eager delivery"),
      openEpochs: (opening) =>
        // What a sink asks for is there: the run has a file system.
        Effect.map(inner.openEpochs!(opening) as Effect.Effect<Sink.EpochWriter<unknown, unknown>>, (writer) => {
          const { current, rewind, ...position } = writer.position!
          return {
            ...writer,
            position: {
              ...position,
              current,
              ...rewind === undefined || !(this.scenario.rewinds || this.scenario.sinks === "files") ? {} : {
                rewind: (to: Sink.Marker) =>
                  Effect.tap(rewind(to), (found) =>
                    Effect.sync(() => {
                      if (found) seen.add("from: an older epoch, with a sink ahead of it that went back")
                    }))
              }
            },
            apply: (application) =>
              Effect.gen({ self: this }, function*() {
                const { marker } = application
                const found = yield* current
                const isDone = found?.lineage === marker.lineage && found.epoch === marker.epoch
                if (isDone && alive.isZombie) seen.add("zombie: its application was found done")
                else if (isDone) seen.add("ambiguous: an application whose answer was lost was found done")
                yield* Effect.tapError(writer.apply(application), (error) =>
                  Effect.sync(() => {
                    if (alive.isZombie && error instanceof Sink.SinkFenced) {
                      seen.add("zombie: its application was refused")
                    }
                  }))
                const tried = alive.troubles.calls.some(({ call, outcome }) =>
                  outcome === "fails" && call === `apply ${marker.epoch} to ${name}`
                )
                if (tried && !isDone) seen.add("ambiguous: an application that failed was done later")
              })
          }
        })
    })
  }

  private source(
    name: string,
    splits: ReadonlyArray<ReadonlyArray<Row>>,
    alive: Alive
  ): Source.Source<Row, unknown> {
    const { furthest, seen } = this
    const inner = Source.make<Row, unknown>({
      description: name,
      bounded: true,
      replayable: true,
      schema: rowSchema,
      splits: Effect.succeed(splits.map((_, i) => String(i))),
      open: (split, position) =>
        Effect.sync(() => {
          const rows = splits[Number(split)]!
          const key = `${name}/${split}`
          let at = position === undefined ? 0 : Number(position)
          alive.hasRead = true
          if (at < (furthest.get(key) ?? 0)) seen.add("event time: rows were read again that event time had passed")
          return {
            pull: (max) =>
              Effect.map(this.next(4) === 0 ? this.rationed : this.reading, () => {
                if (at >= rows.length) return undefined
                const start = at
                const chunk = rows.slice(start, start + Math.min(max, 3))
                at += chunk.length
                furthest.set(key, Math.max(furthest.get(key) ?? 0, at))
                return { rows: chunk, positionAfter: (taken) => start + taken }
              })
          }
        })
    })
    return Crashing.source(alive.troubles.around, name, Crashing.source(alive.power.around, name, inner))
  }

  private get reading(): Effect.Effect<void> {
    return Effect.suspend(() => Effect.sleep(this.next(this.scenario.habits.readMillis * 10 + 1) / 10))
  }

  /** Hands out rations for as long as somebody waits. */
  private readonly rationing: Effect.Effect<never> = Effect.forever(
    Effect.andThen(Effect.sleep(0.4), TxRef.update(this.rations, (n) => n + 1))
  )

  /** Waits for some rations more, in a transaction that is tried again at each of them. */
  private get rationed(): Effect.Effect<void> {
    return Effect.suspend(() => {
      const wanted = this.rations.value + this.next(5)
      let tries = 0
      return Effect.tx(Effect.flatMap(TxRef.get(this.rations), (n) => {
        if (++tries > 3) this.seen.add("failing: a transaction was tried three times or more before it went through")
        return n >= wanted ? Effect.void : Effect.txRetry
      })).pipe(Effect.raceFirst(this.rationing))
    })
  }

  // -------------------------------------------------------------------------------------------------------------------
  // what came of it
  // -------------------------------------------------------------------------------------------------------------------

  /** Where a sink stands; for markers. */
  private standing(name: string): number {
    if (this.scenario.sinks === "ledgers") return this.ledgers.get(name)?.places.at(-1)?.marker.epoch ?? 0
    const sidecar = this.disk.read(`${fileOf(name)}.millrace.json`)
    return sidecar === undefined ? 0 : (JSON.parse(sidecar) as { readonly epoch: number }).epoch
  }

  /** Which sinks that a manifest says are owed something have it, and which have not. */
  owed({ sinks }: Manifest): { readonly lack: number; readonly have: number } {
    const due = sinks.filter(({ pending }) => pending.length > 0)
    const lack = due.filter(({ pending, sink }) => this.standing(sink) < pending.at(-1)!.marker.epoch).length
    return { lack, have: due.length - lack }
  }

  get received(): Received {
    const rows = (name: string): ReadonlyArray<unknown> =>
      this.scenario.sinks === "ledgers"
        ? (this.ledgers.get(name)?.places ?? []).flatMap(({ rows }) => rows)
        : (this.disk.read(fileOf(name)) ?? "").split("\n").filter((line) => line !== "")
          .map((line) => JSON.parse(JSON.parse(line) as string) as unknown)
    const { "dead letters": refused, ...outputs } = Object.fromEntries(this.names.map((name) => [name, rows(name)]))
    // Nothing but dead letters goes to the sink of that name.
    return { outputs, refused: refused as Received["refused"] }
  }
}

/** A file of texts, because JSON knows not every number. */
const written = (file: Sink.Sink<unknown, unknown, FileSystem.FileSystem>): Sink.Sink<unknown, unknown> =>
  Object.assign(Object.create(Object.getPrototypeOf(file)), file, {
    openEpochs: (opening: Sink.EpochOpening) =>
      Effect.map(file.openEpochs!(opening), (writer) => ({
        ...writer,
        prepare: (rows: ReadonlyArray<unknown>) => writer.prepare(rows.map(text))
      }))
  })
