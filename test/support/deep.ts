/** How much of a test is run: a part of it by default, all of it where `MILLRACE_DEEP` is 1. */
export const isDeep = process.env["MILLRACE_DEEP"] === "1"

export const deep = <A>(reduced: A, full: A): A => isDeep ? full : reduced
