/**
 * Writes the checkpoints of `test/compat/golden/format-<n>`: of the jobs in `test/compat/format-<n>.ts`, taken while records
 * were under way and sinks took nothing, in every store and as files. Run it once for a format, when it is released; what it
 * has written is never written again, for later releases must read it as it is.
 */
import { Effect, Option } from "effect"
import { Checkpoint, CheckpointStore, Job, Reference } from "millrace"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { type Golden, goldens, rowText, told, type World } from "../test/compat/format-1.ts"

const out = Path.join(import.meta.dirname, "../test/compat/golden/format-1")
if (Fs.existsSync(out)) throw new Error(`${out} is there: a released format stays as it was written`)
Fs.mkdirSync(out, { recursive: true })

const written = ({ make, name, partitions }: Golden) =>
  Effect.gen(function*() {
    const world: World = { isSick: true, rows: new Map() }
    const handle = yield* Job.launch(make(world), {
      partitions,
      batchSize: 4,
      bufferSize: 8,
      checkpointEvery: "1 hour",
      maxPendingBytes: 3000,
      retain: 1
    })
    yield* Effect.sleep("1 second")
    yield* handle.savepoint("golden")
    const value = Option.getOrThrow(yield* Checkpoint.savepoint(name, "golden"))
    const rows = value.parts.flatMap(({ rows }) =>
      rows.map(({ id, operator, rows }) => `${operator} ${id} ${rows.length}`)
    )
    console.log(
      name,
      value.parts.map(({ tables }) => tables.length),
      rows,
      value.sinks.map(({ pending }) => pending.length)
    )
    return value
  }).pipe(Effect.scoped)

const expected = ({ make, splits }: Golden) => {
  const inputs = { readings: splits }
  const world: World = { isSick: false, rows: new Map() }
  const job = make(world)
  for (const [name, rows] of Object.entries(Reference.run(job, { inputs }))) world.rows.set(name, [...rows])
  const refused = Reference.refused(job, { inputs })
  const outputs = told(world)
  return refused.length === 0 ? outputs : { ...outputs, "dead letters": refused.map(rowText).sort() }
}

for (const golden of goldens) {
  const value = await written(golden).pipe(
    Effect.provide(CheckpointStore.layerSqlite(Path.join(out, "jobs.db"))),
    Effect.runPromise
  )
  await Checkpoint.writeFile(value, Path.join(out, `${golden.name}.json`)).pipe(Effect.runPromise)
  await written(golden).pipe(
    Effect.provide(CheckpointStore.layerFileSystem(Path.join(out, "files"))),
    Effect.runPromise
  )
  Fs.writeFileSync(
    Path.join(out, `${golden.name}.expected.json`),
    `${JSON.stringify(expected(golden), undefined, 1)}\n`
  )
}
