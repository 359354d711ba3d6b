// You will learn to simulate a job of your own: crashes anywhere, calls whose outcome nobody knows, old processes that wake,
// all from one seed. Both jobs give the right rows whenever nothing goes wrong. What is found is shrunk to the few records
// and the one fault that it takes, with the call that replays it.
import { Console, Effect } from "effect"
import { Simulation } from "millrace/testing"
import { numbered, stored } from "./job.ts"

for (const world of [numbered, stored]) {
  const failure = await Effect.runPromise(Effect.flip(Simulation.check(world, { runs: 200 })))
  await Effect.runPromise(Console.log(failure.message.replace(/plan: .*/, "plan: … })")))
}
