export * as SeededScheduler from "./SeededScheduler.ts"
export * as Simulation from "./Simulation.ts"
export * as TestJob from "./TestJob.ts"
