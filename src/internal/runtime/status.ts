/** What the attempts of a job's parts say of themselves, put together. */
import type { JobStatus, OperatorStatus } from "../../JobStatus.ts"
import { type Counts, sumOf } from "../machine/operator.ts"
import { type Graph, kindOf } from "../plan/graph.ts"
import type { Attempt } from "./component.ts"
import type { Appliers } from "./epochSinks.ts"

export const statusOf = (
  graph: Graph,
  attempts: ReadonlyArray<Attempt>,
  appliers: Appliers
): Pick<JobStatus, "operators" | "sinks" | "buffers" | "steps"> => ({
  operators: attempts.flatMap((attempt) => operatorsOf(graph, attempt)),
  sinks: [
    ...attempts.flatMap(({ outputs }) =>
      outputs.flatMap(({ destination, name, refused, written }) =>
        destination._tag === "AtOnce" ? [{ sink: name, written, refused, pendingBytes: 0 }] : []
      )
    ),
    ...Array.from(appliers.values(), ({ pendingBytes, sink, written }) => ({
      sink,
      written,
      refused: refusedBy(attempts, sink),
      pendingBytes
    }))
  ],
  buffers: attempts.flatMap(({ buffers }) => buffers),
  steps: attempts.flatMap(({ runners }) =>
    runners.map(({ making, task }) => ({
      stage: task.stage,
      partition: task.partition,
      steps: making,
      averageBatch: task.taken / Math.max(1, making)
    }))
  )
})

const refusedBy = (attempts: ReadonlyArray<Attempt>, sink: string): number =>
  attempts.reduce(
    (sum, { outputs }) => outputs.reduce((sum, { name, refused }) => name === sink ? sum + refused : sum, sum),
    0
  )

/** An operator behind an exchange works in two places, one before it and one behind: in the status it is one. */
const operatorsOf = (graph: Graph, attempt: Attempt): ReadonlyArray<OperatorStatus> =>
  attempt.runners.flatMap(({ task }) =>
    task.chain.sites.slice(0, task.chain.own).map(({ counts, label }): OperatorStatus => {
      const operator = graph.operators.find((operator) => operator.label === label)!
      let all: Readonly<Counts> = counts
      for (const other of attempt.runners) {
        if (other.task.partition !== task.partition) continue
        for (const sending of other.task.chain.sites.slice(other.task.chain.own)) {
          if (sending.label === label) all = sumOf(all, sending.counts)
        }
      }
      return {
        operator: label,
        kind: kindOf(operator.node),
        partition: task.partition,
        ...all,
        watermark: task.chain.watermarkOf(operator.id),
        keys: task.chain.machines.get(label)?.machine.size ?? 0
      }
    })
  )
