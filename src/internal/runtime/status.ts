/** What the attempts of a job's parts say of themselves, put together. */
import type { JobStatus, OperatorStatus } from "../../JobStatus.ts"
import { type Counts, noCounts } from "../machine/operator.ts"
import { type Graph, kindOf } from "../plan/graph.ts"
import type { Attempt } from "./component.ts"

export const statusOf = (
  graph: Graph,
  attempts: ReadonlyArray<Attempt>
): Pick<JobStatus, "operators" | "sinks" | "buffers" | "steps"> => ({
  operators: attempts.flatMap((attempt) => operatorsOf(graph, attempt)),
  sinks: attempts.flatMap(({ sinks }) => sinks.map(({ name, written }) => ({ sink: name, written }))),
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

/** An operator behind an exchange works in two places, one before it and one behind: in the status it is one. */
const operatorsOf = (graph: Graph, attempt: Attempt): ReadonlyArray<OperatorStatus> =>
  attempt.runners.flatMap(({ task }) =>
    task.chain.sites.slice(0, task.chain.own).map(({ counts, label }): OperatorStatus => {
      const operator = graph.operators.find((operator) => operator.label === label)!
      const all = { ...counts }
      for (const other of attempt.runners) {
        if (other.task.partition !== task.partition) continue
        for (const sending of other.task.chain.sites.slice(other.task.chain.own)) {
          if (sending.label === label) { for (const count of countNames) all[count] += sending.counts[count] }
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

const countNames = Object.keys(noCounts()) as ReadonlyArray<keyof Counts>
