/** How well can a secret bit be guessed from times that were measured? */

/** Of one trial: the secret, and what was measured, one number for each kind of measurement. */
export interface Trial {
  readonly secret: boolean
  readonly times: readonly number[]
}

/** "The secret is set where the time is below the threshold", or where it is not. */
interface Rule {
  readonly kind: number
  readonly threshold: number
  readonly isSetBelow: boolean
}

/**
 * The share of secrets that are guessed right: of the second half of the trials, by the rule that guesses best in the first half. So nothing is known of the trials that count,
 * and without a leak the share is a half, give or take 0.7% (one standard deviation) for 10,000 trials. It goes by the order of times, not by their size: some that are late
 * because the machine was busy do no harm.
 */
export function guessedShare(trials: readonly Trial[]): number {
  const half = Math.floor(trials.length / 2)
  const [training, rest] = [trials.slice(0, half), trials.slice(half)]
  const kinds = training[0]?.times.length ?? 0
  let best: { rule: Rule; right: number } | undefined
  for (let kind = 0; kind < kinds; kind++) {
    const learned = bestRule(training, kind)
    if (best === undefined || learned.right > best.right) best = learned
  }
  if (best === undefined) return Number.NaN
  const { kind, threshold, isSetBelow } = best.rule
  const right = rest.filter(({ secret, times }) => (times[kind]! < threshold === isSetBelow) === secret)
  return right.length / rest.length
}

/** Tries each threshold between two times. */
function bestRule(trials: readonly Trial[], kind: number): { rule: Rule; right: number } {
  const sorted = trials.map(({ secret, times }) => ({ secret, time: times[kind]! })).sort((a, b) => a.time - b.time)
  const set = sorted.filter(({ secret }) => secret).length
  // Below the least time there is none: all are guessed unset by "set below", all set by the other rule.
  let best = { rule: { kind, threshold: Number.NEGATIVE_INFINITY, isSetBelow: true }, right: sorted.length - set }
  let setBelow = 0
  sorted.forEach(({ secret, time }, i) => {
    const below = i
    if (i === 0 || sorted[i - 1]!.time < time) {
      const right = setBelow + (sorted.length - set) - (below - setBelow)
      if (right > best.right) best = { rule: { kind, threshold: time, isSetBelow: true }, right }
      if (sorted.length - right > best.right)
        best = { rule: { kind, threshold: time, isSetBelow: false }, right: sorted.length - right }
    }
    if (secret) setBelow++
  })
  return best
}
