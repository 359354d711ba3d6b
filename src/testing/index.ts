export * as EventStream from "./EventStream.ts"
export * as Laws from "./Laws.ts"
export * as SeededScheduler from "./SeededScheduler.ts"
export * as TestJob from "./TestJob.ts"
