/** Lives of a job in processes of their own: begun, killed, stopped and woken from outside, and what they said. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { createInterface } from "node:readline"
import type { Life } from "./child.ts"

const program = Path.join(import.meta.dirname, "child.ts")

/** What the first process has compiled, the others need not: half of what a short life costs. */
const compiled = Fs.mkdtempSync(Path.join(Os.tmpdir(), "millrace-compiled-"))
process.on("exit", () => Fs.rmSync(compiled, { recursive: true, force: true }))

/** Real time only: these processes know no other. */
export const sleep = (millis: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, millis))

export class Child {
  /** When it said what, in milliseconds since it was begun. */
  readonly said: Array<{ readonly line: string; readonly at: number }> = []
  private readonly process: ChildProcess
  private readonly begunAt = performance.now()
  private readonly waiting = new Set<() => void>()
  private isOver = false

  constructor(life: Life) {
    this.process = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", program, JSON.stringify(life)], {
      stdio: ["ignore", "pipe", "inherit"],
      env: { ...process.env, NODE_COMPILE_CACHE: compiled }
    })
    const lines = createInterface({ input: this.process.stdout! })
    lines.on("line", (line) => {
      this.said.push({ line, at: performance.now() - this.begunAt })
      this.tell()
    })
    // All that it said has been read by then.
    this.process.on("close", () => {
      this.isOver = true
      this.tell()
    })
  }

  private tell(): void {
    for (const resolve of this.waiting) resolve()
    this.waiting.clear()
  }

  /** Whether it is gone, and all that it said is known. */
  get hasEnded(): boolean {
    return this.isOver
  }

  /** The first line that begins so. */
  line(start: string): { readonly line: string; readonly at: number } | undefined {
    return this.said.find(({ line }) => line.startsWith(start))
  }

  /** Its last words, if it came to say them. */
  get end(): string | undefined {
    return this.said.findLast(({ line }) => line === "finished" || line.startsWith("failed "))?.line
  }

  get epochs(): number {
    return this.said.filter(({ line }) => line.startsWith("epoch ")).length
  }

  /** Waits until something holds, or the process is gone, or the time is over. */
  async until(holds: () => boolean, millis = 60_000): Promise<boolean> {
    const last = performance.now() + millis
    while (!holds()) {
      const left = last - performance.now()
      if (this.isOver || left <= 0) return false
      await Promise.race([new Promise<void>((resolve) => this.waiting.add(resolve)), sleep(Math.min(left, 100))])
    }
    return true
  }

  signal(signal: "SIGKILL" | "SIGSTOP" | "SIGCONT"): void {
    if (!this.isOver) this.process.kill(signal)
  }

  async kill(): Promise<void> {
    this.signal("SIGKILL")
    await this.until(() => this.isOver)
  }

  /** Waits until it stands still. False: it has gone before. */
  stopped(): Promise<boolean> {
    return this.until(() => {
      try {
        return execFileSync("ps", ["-o", "state=", "-p", String(this.process.pid)], { encoding: "utf8" }).startsWith(
          "T"
        )
      } catch {
        return false
      }
    })
  }
}
