/** Whether two types are the same, `any` and optional fields included. */
export type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false

/** A check: `True<Equal<…>>` compiles when it holds. */
export type True<T extends true> = T
