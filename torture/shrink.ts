/**
 * Delta debugging (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002): the smallest part of a
 * list that still fails, in the sense that it passes as soon as any one item is left out.
 */

/**
 * `fails` is asked about shorter and shorter lists, never about the whole; it must be repeatable. At most `triesMax` times.
 * Resolves with the shortest list that failed.
 */
export async function shrink<T>(
  items: readonly T[],
  fails: (part: readonly T[]) => Promise<boolean>,
  triesMax = 1000,
): Promise<readonly T[]> {
  let kept = items
  let chunk = Math.ceil(kept.length / 2)
  let tries = 0
  while (chunk >= 1) {
    let removed = false
    // From the end: what comes last depends on what came before, not the other way round.
    for (let end = kept.length; end > 0; end -= chunk) {
      if (tries++ >= triesMax) return kept
      const without = [...kept.slice(0, Math.max(0, end - chunk)), ...kept.slice(end)]
      if (without.length === kept.length || !(await fails(without))) continue
      kept = without
      removed = true
    }
    if (chunk === 1 && !removed) return kept
    chunk = chunk === 1 ? 1 : Math.ceil(chunk / 2)
  }
  return kept
}
