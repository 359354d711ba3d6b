/** What a job is at when its process is told to end. */
export const phases = ["starting", "running", "checkpointing", "applying", "draining", "ending"] as const
export type Phase = typeof phases[number]
