/**
 * What a deep run says: a line as each file ends, every failure as usual, and at the end a table of files, with what their
 * tests have counted.
 */
import type { UserConsoleLog } from "vitest"
import { DefaultReporter, type TestModule } from "vitest/node"

const secondsOf = (millis: number): string => (millis / 1000).toFixed(1)

/** The lines that a test has printed about its counts: anything else that it says is a warning or a stack. */
const linesOf = (content: string): ReadonlyArray<string> =>
  content.split("\n").map((line) => line.trimEnd()).filter((line) => line !== "")

export default class DeepReporter extends DefaultReporter {
  private readonly printed: Array<UserConsoleLog> = []
  private readonly began = Date.now()

  constructor() {
    super({ summary: false })
  }

  override onUserConsoleLog(log: UserConsoleLog): void {
    if (log.type === "stdout") this.printed.push(log)
    else super.onUserConsoleLog(log)
  }

  override onTestRunEnd(...[modules, errors, reason]: Parameters<DefaultReporter["onTestRunEnd"]>): void {
    super.onTestRunEnd(modules, errors, reason)
    const rows = modules.map((module) => this.rowOf(module)).sort((a, b) => (a.file < b.file ? -1 : 1))
    const width = Math.max(4, ...rows.map(({ file }) => file.length))
    const row = (file: string, tests: string, failed: string, seconds: string) =>
      `${file.padEnd(width)} ${tests.padStart(6)} ${failed.padStart(7)} ${seconds.padStart(8)}`
    const lines = [row("file", "tests", "failed", "seconds")]
    for (const { failed, file, millis, printed, tests } of rows) {
      lines.push(row(file, String(tests), String(failed), secondsOf(millis)), ...printed.map((line) => `    ${line}`))
    }
    const total = (of: (one: Row) => number) => rows.reduce((sum, one) => sum + of(one), 0)
    const whole = row("total", String(total(({ tests }) => tests)), String(total(({ failed }) => failed)), "")
    lines.push(`${whole.trimEnd()} ${secondsOf(Date.now() - this.began).padStart(8)}`)
    console.log(`\n${lines.join("\n")}`)
  }

  private rowOf(module: TestModule): Row {
    const tests = [...module.children.allTests()]
    return {
      file: module.relativeModuleId,
      tests: tests.filter((test) => test.result().state !== "skipped").length,
      failed: tests.filter((test) => test.result().state === "failed").length + (module.errors().length > 0 ? 1 : 0),
      millis: module.diagnostic().duration,
      printed: this.printed
        .filter(({ taskId }) => taskId !== undefined && taskId.startsWith(module.id))
        .flatMap(({ content }) => linesOf(content))
    }
  }
}

interface Row {
  readonly file: string
  readonly tests: number
  readonly failed: number
  readonly millis: number
  /** What the tests said, in the order in which they did. */
  readonly printed: ReadonlyArray<string>
}
