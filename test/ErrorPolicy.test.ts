import { assert, describe, it } from "@effect/vitest"
import { Schedule } from "effect"
import * as ErrorPolicy from "../src/ErrorPolicy.ts"

describe("ErrorPolicy", () => {
  const retry = ErrorPolicy.retry(Schedule.recurs(3), { then: ErrorPolicy.deadLetter })

  it("describes itself", () => {
    assert.deepStrictEqual(
      [ErrorPolicy.fail, ErrorPolicy.skip, ErrorPolicy.deadLetter, retry].map(ErrorPolicy.describe),
      ["fail", "skip", "dead letter", "retry(then dead letter)"]
    )
  })

  it("is a value that pipes, and is told from others", () => {
    assert.strictEqual(retry._tag, "Retry")
    assert.strictEqual(ErrorPolicy.skip.pipe(ErrorPolicy.describe), "skip")
    assert.isTrue(ErrorPolicy.isErrorPolicy(retry))
    assert.isFalse(ErrorPolicy.isErrorPolicy({ _tag: "Fail" }))
  })

  it("refuses to retry after a retry", () => {
    // @ts-expect-error
    ErrorPolicy.retry(Schedule.recurs(1), { then: retry })
  })
})
