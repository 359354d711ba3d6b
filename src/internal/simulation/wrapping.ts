/** The world of a simulated job: its store, sinks and sources, with faults around every call, and its records. */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { CheckpointStore } from "../../CheckpointStore.ts"
import { CheckpointStoreError, Fenced } from "../../CheckpointStore.ts"
import type { Job } from "../../Job.ts"
import * as Sink from "../../Sink.ts"
import type * as Source from "../../Source.ts"
import { decodeManifest } from "../checkpoint/manifest.ts"
import { isSame } from "../plan/SinkFenced.ts"
import { chance, mixed, whole } from "./chance.ts"
import type { Call, History, Life } from "./life.ts"
import type { Plan } from "./plan.ts"

type Store = CheckpointStore["Service"]
type AnySink = Sink.Sink<never, unknown, unknown>
type AnySource = Source.Source<unknown, unknown, unknown>

/** What is known of a run while it goes on, besides its job: enough to say which rare states it has been in. */
export class Ledger {
  /** The head of the store. */
  manifest: Uint8Array | undefined
  /** A commit that was done and not answered. */
  unanswered: { readonly epoch: number; readonly life: Life } | undefined
  readonly tried = new Set<string>()
  readonly applied = new Map<string, Sink.Marker>()
  readonly committedBy = new Set<number>()
  readonly history: History

  constructor(history: History) {
    this.history = history
  }

  /** A life is about to end here and now. */
  crash(life: Life): void {
    const { history, manifest } = this
    if (manifest === undefined) return history.note("crash before the first checkpoint")
    const { epoch, sinks } = decodeManifest(manifest)
    const owed = sinks.filter(({ pending, sink }) =>
      pending.length > 0 && !isSame(pending.at(-1)!.marker, this.applied.get(sink))
    )
    if (owed.length > 0) history.note("crash between checkpoint and sink")
    if (sinks.some(({ pending, sink }) => pending.some(({ marker }) => isSame(marker, this.applied.get(sink))))) {
      history.note("crash between sink and the next checkpoint")
    }
    if (life.number > 1 && !this.committedBy.has(life.number)) history.note("crash of a recovery")
    if (epoch > 1) history.note("crash after a checkpoint")
  }

  /** A life is about to begin. */
  launch(life: Life, partitions: number): void {
    const { history, manifest } = this
    if (life.number > 1 && manifest !== undefined) {
      const head = decodeManifest(manifest)
      history.note("launch from a checkpoint")
      if (head.state === "finished") history.note("launch of a finished job")
      if (head.state === "stopped") history.note("launch of a stopped job")
      if (head.partitions !== partitions) history.note("launch on other partitions")
      if (head.sinks.some(({ pending }) => pending.length > 0)) history.note("launch with epochs owed to sinks")
      if (head.parts.some(({ flight }) => flight.length > 0)) history.note("launch with records under way")
      if (head.chain.length > 1) history.note("launch from several segments")
    }
  }
}

const call = (kind: Call["kind"], who: string, name: string, doing: string, did: string): Call => ({
  kind,
  who,
  name,
  doing,
  did,
  writes: /^(commit|apply|write|begin)/.test(name)
})

/** A store with faults around its calls. */
export const store = (life: Life, ledger: Ledger, inner: Store): Store => {
  const { history } = ledger
  const around = <A, E>(
    job: string,
    name: string,
    doing: string,
    did: string,
    effect: Effect.Effect<A, E | CheckpointStoreError>
  ) =>
    life.around(
      call("store", "the store", name, doing, did),
      effect,
      (cause) => Effect.fail(new CheckpointStoreError({ job, operation: doing, cause }))
    )
  return {
    isDurable: true,
    database: undefined,
    acquire: (job) =>
      Effect.suspend(() => {
        life.hasAcquired = false
        return around(job, "acquire", "hand the job over", "handed the job over", inner.acquire(job))
      }).pipe(Effect.tap(() => Effect.sync(() => void (life.hasAcquired = true)))),
    commit: (commit) => {
      const { epoch, job, manifest } = commit
      const committed = inner.commit(commit).pipe(
        Effect.tap(() =>
          Effect.sync(() => {
            if (ledger.tried.has(`${life.number} ${epoch}`)) history.note("commit tried again")
            ledger.manifest = manifest
            ledger.committedBy.add(life.number)
            ledger.unanswered = { epoch, life }
          })
        ),
        Effect.tapError((error) =>
          Effect.sync(() => {
            if (error instanceof Fenced && life.isOvertaken) history.note("zombie commit refused")
          })
        )
      )
      const told = around(job, `commit ${epoch}`, `commit epoch ${epoch}`, `committed epoch ${epoch}`, committed)
      return Effect.suspend(() => {
        return Effect.onExit(told, (exit) =>
          Effect.sync(() => {
            ledger.tried.add(`${life.number} ${epoch}`)
            if (exit._tag === "Success") ledger.unanswered = undefined
          }))
      })
    },
    list: (job) =>
      around(
        job,
        "list",
        "list its epochs",
        "listed its epochs",
        Effect.tap(inner.list(job), (all) =>
          Effect.sync(() => {
            if (ledger.unanswered?.life !== life || all[0]?.epoch !== ledger.unanswered.epoch) return
            ledger.unanswered = undefined
            history.note("ambiguous commit read again")
          }))
      ),
    manifest: (job, epoch) =>
      around(
        job,
        `manifest ${epoch}`,
        `read the manifest of epoch ${epoch}`,
        `read the manifest of epoch ${epoch}`,
        inner.manifest(job, epoch)
      ),
    blob: (job, id) => around(job, `blob ${id}`, `read piece ${id}`, `read piece ${id}`, inner.blob(job, id)),
    remove: (job, attempt, drop) =>
      around(job, "remove", "remove what is not needed", "removed what is not needed", inner.remove(job, attempt, drop))
  }
}

/** A sink with faults around its calls. */
export const sink = (life: Life, ledger: Ledger, name: string, inner: AnySink): AnySink => {
  const { open, openEpochs } = inner
  const { history } = ledger
  const who = `sink "${name}"`
  // Sinks fail with anything as far as the runtime knows, and so with this.
  const around = <A, E, R>(own: string, doing: string, did: string, effect: Effect.Effect<A, E, R>) =>
    life.around(call("sink", who, `${own} ${name}`, doing, did), effect, (fault) => Effect.fail(fault as unknown as E))
  const position = <E>({ begin, current, isVolatile, knows, rewind }: Sink.SinkPosition<E>): Sink.SinkPosition<E> => ({
    isVolatile,
    current: around("look", "say where it stands", "said where it stands", current),
    begin: (marker, from) => around("begin", "begin anew", "began anew", begin(marker, from)),
    ...knows === undefined
      ? {}
      : { knows: (to) => around("knows", `say whether it knows epoch ${to.epoch}`, "said what it knows", knows(to)) },
    ...rewind === undefined ? {} : {
      rewind: (to) =>
        around("rewind", `go back to epoch ${to.epoch}`, `went back to epoch ${to.epoch}`, rewind(to)).pipe(
          Effect.tap((went) => Effect.sync(() => void (went && history.note("sink went back"))))
        )
    }
  })
  const own: Pick<AnySink, "open" | "openEpochs"> = {
    open: (opening) =>
      Effect.map(around("open", "open", "opened", open(opening)), ({ end, write }): Sink.Writer<never, unknown> => ({
        write: (rows) => around("write to", `write ${rows.length} rows`, `wrote ${rows.length} rows`, write(rows)),
        ...end === undefined ? {} : { end: around("end", "end", "ended", end) }
      })),
    openEpochs: openEpochs &&
      ((opening) =>
        Effect.map(
          around("open", "open", "opened", openEpochs(opening)),
          (writer): Sink.EpochWriter<never, unknown> => {
            // Statements of a database that is not simulated have no place in a simulated store.
            const { alongside: _, position: place, ...rest } = writer
            return {
              ...rest,
              apply: (application) => {
                const { marker: { epoch } } = application
                const applied = writer.apply(application).pipe(
                  Effect.tap(() =>
                    Effect.sync(() => {
                      if (isSame(ledger.applied.get(name), application.marker)) history.note("application repeated")
                      ledger.applied.set(name, application.marker)
                    })
                  ),
                  Effect.tapCause((cause) =>
                    Effect.sync(() => {
                      const error = Cause.squash(cause)
                      if (error instanceof Sink.SinkFenced && life.isOvertaken) {
                        history.note("zombie application refused")
                      }
                    })
                  )
                )
                return around(`apply ${epoch} to`, `apply epoch ${epoch}`, `applied epoch ${epoch}`, applied)
              },
              ...place === undefined ? {} : { position: position(place) }
            }
          }
        ))
  }
  return Object.assign(Object.create(Object.getPrototypeOf(inner)), inner, own)
}

/** Which records of a split are read. */
type Ranges = ReadonlyArray<readonly [from: number, until: number]>

const chosen = (rows: ReadonlyArray<unknown>, ranges: Ranges | undefined): ReadonlyArray<unknown> =>
  ranges === undefined ? rows : ranges.flatMap(([from, until]) => rows.slice(from, until))

/** A source that gives records a few at a time, with faults around its calls. */
const reading = (
  life: Life,
  plan: Plan,
  name: string,
  inner: AnySource,
  splits: ReadonlyArray<ReadonlyArray<unknown>>
): AnySource => {
  const body: Source.Body<unknown, unknown, unknown> = {
    _tag: "Read",
    replayable: true,
    splits: Effect.succeed(splits.map((_, split) => String(split))),
    open: (split, position) =>
      Effect.sync(() => {
        const rows = splits[Number(split)]!
        let at = position === undefined ? 0 : Number(position)
        const next = chance(mixed(plan.seed, name), at)
        const pull = (max: number) =>
          Effect.sync(() => {
            if (at >= rows.length) return undefined
            const from = at
            const some = rows.slice(from, from + Math.min(max, plan.chunk))
            at += some.length
            return { rows: some, positionAfter: (taken: number) => from + taken }
          })
        return {
          pull: (max) =>
            Effect.andThen(
              Effect.suspend(() => life.strand.clock.sleep(Duration.millis(whole(next, 0, plan.paceMillis)))),
              pull(max)
            )
        }
      })
  }
  return Object.assign(Object.create(Object.getPrototypeOf(inner)), inner, { body, bounded: true })
}

/** A source with faults around its calls; what it reads is the records that the plan leaves of it. */
export const source = (
  life: Life,
  plan: Plan,
  name: string,
  given: AnySource,
  records: ReadonlyArray<unknown> | undefined
): AnySource => {
  const all = records !== undefined ? [records] : given.body._tag === "Memory" ? given.body.splits : undefined
  const inner = all === undefined
    ? given
    : reading(life, plan, name, given, all.map((rows, split) => chosen(rows, plan.records[name]?.[split])))
  const { body } = inner
  if (body._tag !== "Read") return inner
  const who = `source "${name}"`
  const around = <A, E, R>(own: string, doing: string, did: string, effect: Effect.Effect<A, E, R>) =>
    life.around(call("source", who, own, doing, did), effect, (fault) => Effect.fail(fault as unknown as E))
  const own: Source.Body<unknown, unknown, unknown> = {
    ...body,
    splits: around(`splits of ${name}`, "name its splits", "named its splits", body.splits),
    open: (split, position) => {
      const at = position === undefined ? "the beginning" : JSON.stringify(position)
      const opened = around(
        `open ${name}/${split}`,
        `open split ${split}`,
        `opened split ${split}`,
        body.open(split, position)
      )
      return Effect.map(opened, ({ pull }): Source.Reader<unknown, unknown> => ({
        pull: (max) =>
          around(`pull ${name}/${split}`, `read split ${split}, opened at ${at}`, `read split ${split}`, pull(max))
      }))
    }
  }
  return Object.assign(Object.create(Object.getPrototypeOf(inner)), inner, { body: own })
}

/** The job of one life. */
export const wrapped = (
  job: Job<unknown, unknown>,
  life: Life,
  ledger: Ledger,
  plan: Plan,
  records: Readonly<Record<string, ReadonlyArray<unknown>>>
): Job<unknown, unknown> => {
  const { program } = job
  const { deadLetters, graph } = program
  const operators = graph.operators.map((operator) => {
    const { node } = operator
    if (node._tag !== "Source") return operator
    return { ...operator, node: { ...node, source: source(life, plan, node.name, node.source, records[node.name]) } }
  })
  const outlets = graph.outlets.map((outlet) => ({ ...outlet, sink: sink(life, ledger, outlet.name, outlet.sink) }))
  return Object.assign(Object.create(Object.getPrototypeOf(job)), job, {
    program: {
      ...program,
      graph: { ...graph, operators, outlets },
      deadLetters: deadLetters && sink(life, ledger, lettersName, deadLetters)
    }
  })
}

/** How the output of dead letters is called. */
export const lettersName = "dead letters"
