/** One error for every file that could not be used. */
import * as Effect from "effect/Effect"
import { isPlatformError, type PlatformError } from "effect/PlatformError"
import * as Schema from "effect/Schema"

export class FileError extends Schema.TaggedError<FileError>("millrace/FileError")("FileError", {
  path: Schema.String,
  operation: Schema.String,
  cause: Schema.Defect()
}) {
  override get message() {
    return `Could not ${this.operation} "${this.path}": ${messageOf(this.cause)}`
  }
}

/** The system's own words, where a platform error carries them. */
const messageOf = (cause: unknown): string => {
  if (isPlatformError(cause) && cause.reason.cause instanceof Error) return cause.reason.cause.message
  return cause instanceof Error ? cause.message : String(cause)
}

/** Names the file and the operation in a platform error. */
export const at = (path: string, operation: string) =>
  Effect.mapError((cause: PlatformError) => new FileError({ path, operation, cause }))

/** A file that is not what it must be: in our own words, which name the remedy. */
export const refusal = (path: string, operation: string, reason: string) =>
  new FileError({ path, operation, cause: new Error(reason) })
