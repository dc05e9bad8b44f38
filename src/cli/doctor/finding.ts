/** What the doctor found out about one thing. */

export const STATE = {
  /** There, and works. */
  OK: 'ok',
  /** Samepage works without it, but not as well, or not for everybody. */
  LIMITED: 'limited',
  /** Sharing memory needs it, and it is not there. */
  MISSING: 'missing',
} as const
export type State = (typeof STATE)[keyof typeof STATE]

export interface Finding {
  /** For programs: never renamed. */
  readonly id: string
  /** For people: the thing. */
  readonly what: string
  readonly state: State
  /** What was found, and what it means for Samepage here. */
  readonly means: string
  /** How to get the rest; undefined where nothing is missing, or nothing can be done. */
  readonly remedy?: string
}

/** Makes the findings about one thing: `here.ok(…)`, `here.limited(…)`, `here.missing(…)`. */
export function about(id: string, what: string) {
  const finding =
    (state: State) =>
    (means: string, remedy?: string): Finding => ({
      id,
      what,
      state,
      means,
      ...(remedy === undefined ? {} : { remedy }),
    })
  return { ok: finding(STATE.OK), limited: finding(STATE.LIMITED), missing: finding(STATE.MISSING) }
}
