#!/usr/bin/env node
/** The command `millrace`. */
import { main } from "./plan.ts"

process.exitCode = await main(process.argv.slice(2), console)
