import { expect } from 'vitest'

/** That seeds have met each of the things that `keys` count more than `times` times, all together. */
export function expectMet<Key extends string>(
  outcomes: readonly Readonly<Record<Key, number>>[],
  keys: readonly Key[],
  times: number,
): void {
  for (const key of keys)
    expect(
      outcomes.reduce((sum, outcome) => sum + outcome[key], 0),
      key,
    ).toBeGreaterThan(times)
}
