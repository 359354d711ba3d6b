/** The examples that need a server. */
import { expect, it } from "@effect/vitest"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { needsServer, printed, statedOutput } from "../support/examples.ts"
import { Server } from "./postgres.ts"

const folder = Path.join(import.meta.dirname, "../../examples")
const examples = Fs.readdirSync(folder).filter((file) => file.endsWith(".ts"))
  .map((file) => ({ file, source: Fs.readFileSync(Path.join(folder, file), "utf8") }))
  .filter(({ source }) => needsServer(source))

it("there are some", () => expect(examples).not.toEqual([]))

it.each(examples)(
  "examples/$file prints what it states, and what it needs where there is nothing",
  async ({ file, source }) => {
    const path = Path.join(folder, file)
    expect(await printed(path, { DATABASE_URL: Server.shared.url() })).toBe(statedOutput(source))
    expect(await printed(path)).toMatch(/^Set \w+ to /)
  }
)
