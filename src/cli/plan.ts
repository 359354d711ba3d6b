/** `millrace plan`: what a program would make of the checkpoint of its job, for people and for the pipeline that deploys it. */
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import { MinimumLogLevel } from "effect/References"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { pathToFileURL } from "node:url"
import { parseArgs } from "node:util"
import * as CheckpointStore from "../CheckpointStore.ts"
import { CheckpointRefused } from "../FlowError.ts"
import * as Job from "../Job.ts"
import * as Upgrade from "../Upgrade.ts"

const usage = `millrace plan <module> --store sqlite:<path> | file:<folder>

Says what running the job that the module exports would make of its checkpoint. Nothing is taken over or changed.

  --store <store>        where the job keeps its checkpoints
  --job <name>           which job, if the module exports several
  --rename <old>=<new>   operators and sources that go by other names now
  --reset <name>         operators and sources that begin anew where they cannot go on
  --drop <name>          operators and sources that are gone, with what they have
  --accept <name>        operators and sources of which what differs means the same
  --reset-output <name>  outputs that begin anew where they cannot go on
  --drop-output <name>   outputs that are gone, with what waits for them
  --json                 as JSON

Exits with 0 if everything goes on, with 1 if something is given up or refused, and with 2 if it cannot be said.`

/** Where the command says what it has to say. */
export interface Terminal {
  readonly log: (line: string) => void
  readonly error: (line: string) => void
}

/** Told as it is, without a stack: the user's mistake, not ours. */
class Mistake extends Error {}

/** Answers with the exit code. */
export const main = async (args: ReadonlyArray<string>, terminal: Terminal): Promise<0 | 1 | 2> => {
  try {
    const parsed = parse(args)
    if (parsed === undefined) {
      terminal.log(usage)
      return 0
    }
    const job = await jobIn(parsed.module, parsed.job)
    const plan = await Job.plan(job, { upgrade: parsed.upgrade }).pipe(
      Effect.provide(parsed.store),
      Effect.provideService(MinimumLogLevel, "None"),
      Effect.runPromise
    )
    const verdict = Upgrade.verdict(plan)
    terminal.log(parsed.isJson ? JSON.stringify({ ...plan, verdict }, undefined, 2) : Upgrade.toText(plan))
    return verdict === "safe" ? 0 : 1
  } catch (error) {
    terminal.error(error instanceof Error ? error.message : String(error))
    return error instanceof CheckpointRefused ? 1 : 2
  }
}

const parse = (args: ReadonlyArray<string>) => {
  const many = { type: "string", multiple: true, default: [] as Array<string> } as const
  const { positionals: [command, module, ...rest], values } = attempt(() =>
    parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        store: { type: "string" },
        job: { type: "string" },
        rename: many,
        reset: many,
        drop: many,
        accept: many,
        "reset-output": many,
        "drop-output": many,
        json: { type: "boolean", default: false },
        help: { type: "boolean", short: "h", default: false }
      }
    })
  )
  if (values.help) return undefined
  if (command !== "plan" || module === undefined || rest.length > 0) throw new Mistake(usage)
  if (values.store === undefined) throw new Mistake("Give --store sqlite:<path> or --store file:<folder>")
  const upgrade: Upgrade.Answers = {
    renamed: Object.fromEntries(values.rename.map(pairOf)),
    reset: values.reset,
    drop: values.drop,
    accept: values.accept,
    outputs: { reset: values["reset-output"], drop: values["drop-output"] }
  }
  return { module, job: values.job, store: storeOf(values.store), upgrade, isJson: values.json }
}

const attempt = <A>(use: () => A): A => {
  try {
    return use()
  } catch (error) {
    throw new Mistake(`${error instanceof Error ? error.message : String(error)}\n\n${usage}`)
  }
}

const pairOf = (text: string): [string, string] => {
  const [before, now, ...rest] = text.split("=")
  if (before && now && rest.length === 0) return [before, now]
  throw new Mistake(`--rename takes <old>=<new>, and ${JSON.stringify(text)} is not that`)
}

/** It has to be there: a store that is made by looking at it would say that there is nothing to lose. */
const storeOf = (text: string): Layer.Layer<CheckpointStore.CheckpointStore, unknown> => {
  const at = text.indexOf(":")
  const [kind, path] = [text.slice(0, at), text.slice(at + 1)]
  if ((kind !== "sqlite" && kind !== "file") || path === "") {
    throw new Mistake(`--store takes sqlite:<path> or file:<folder>, and ${JSON.stringify(text)} is neither`)
  }
  if (!Fs.existsSync(path)) throw new Mistake(`There is no store at ${path}`)
  return kind === "sqlite" ? CheckpointStore.layerSqlite(path) : CheckpointStore.layerFileSystem(path)
}

const jobIn = async (module: string, name: string | undefined): Promise<Job.Job<unknown, unknown>> => {
  const path = Path.resolve(module)
  if (!Fs.existsSync(path)) throw new Mistake(`There is no module at ${module}`)
  const exported: unknown = await import(pathToFileURL(path).href)
  const jobs = new Map(
    // A module is an object, whatever it exports.
    Object.values(exported as object).filter((value) => Job.isJob(value)).map((job) => [job.name, job])
  )
  const names = [...jobs.keys()].map((name) => JSON.stringify(name)).join(", ")
  if (jobs.size === 0) throw new Mistake(`${module} exports no job: export what Job.make gives`)
  const found = name === undefined ? jobs.size === 1 ? [...jobs.values()][0] : undefined : jobs.get(name)
  if (found !== undefined) return found
  throw new Mistake(
    name === undefined
      ? `${module} exports ${names}: choose by --job`
      : `${module} exports no job "${name}"; it has ${names}`
  )
}
