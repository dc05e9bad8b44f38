/**
 * Tests that run in the guest. Each is registered on both sides: the host learns the names, the guest runs the bodies.
 *
 *     guestTest('each frame lies on its node', async () => { … })
 */

/** Throws where it fails. `note` is shown beside the result: figures. */
export type GuestTestBody = (note: (text: string) => void) => void | Promise<void>

export interface GuestTest {
  readonly name: string
  readonly body: GuestTestBody
  /** After so long it has failed. */
  readonly msMax: number
}

const TEST_MS_MAX = 90_000

/** What the guest says of a test, one line of JSON each. */
export interface GuestResult {
  readonly name: string
  readonly ms: number
  readonly notes: readonly string[]
  /** Undefined: passed. */
  readonly error?: string
}

const registered: GuestTest[] = []

export function guestTest(name: string, body: GuestTestBody, msMax = TEST_MS_MAX): void {
  if (registered.some((test) => test.name === name)) throw new Error(`two tests are called '${name}'`)
  registered.push({ name, body, msMax })
}

export function guestTests(): readonly GuestTest[] {
  return registered
}
