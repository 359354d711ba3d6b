/** A process that was stopped while it began its sinks, and wakes after its successor has written to them. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { Flow, Job, Source } from "millrace"
import { memoryStore } from "../../src/internal/stores/memoryStore.ts"
import { Ledger } from "../laws/lives.ts"
import { run, succeeded, toTheEnd } from "../recovery/world.ts"
import { type Around, Power, sink, store } from "../support/crashing.ts"

describe.each(["before look where numbers stands", "after look where numbers stands", "before begin numbers"])(
  "a zombie that was stopped %s",
  (stopped) => {
    it("does not take from the sink what its successor has written", async () => {
      const inner = memoryStore()
      const ledger = new Ledger()
      const life = (around: Around) =>
        toTheEnd(
          Job.make("job", [
            Flow.from("numbers", Source.memory([1, 2, 3])).pipe(
              Flow.to("numbers", sink(around, "numbers", ledger.sink))
            )
          ]),
          store(around, inner),
          {}
        )
      const power = new Power((point) => point === stopped)
      const all = Effect.gen(function*() {
        const zombie = yield* Effect.forkDetach(life(power.around))
        yield* power.failed
        yield* life(new Power().around)
        power.wake()
        return yield* Fiber.await(zombie)
      })
      const exit = succeeded(await run(all, 1), stopped)
      assert.isTrue(Exit.isFailure(exit), "nobody has told it that it was overtaken")
      assert.deepStrictEqual(ledger.places.flatMap(({ rows }) => rows), [1, 2, 3])
    })
  }
)
