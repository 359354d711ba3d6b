/**
 * What every decoder of this folder throws for bytes or JSON that no encoder of this folder has written.
 */

/** Caught where the file is known; the message says what is wrong, not where. */
export class Malformed extends Error {
  override readonly name = "Malformed"
}

/** Sound, and of another release: to go back to an earlier epoch because of it would undo what that release did. */
export class OtherFormat extends Malformed {}
