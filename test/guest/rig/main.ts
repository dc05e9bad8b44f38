/** In the guest: runs all tests, one after the other, and prints a line of JSON for each. */
import '../all-tests.ts'
import { type GuestResult, type GuestTest, guestTests } from './guest-test.ts'

for (const test of guestTests()) process.stdout.write(`${JSON.stringify(await run(test))}\n`)
// What a failed test has left open must not keep the guest up.
process.exit()

async function run({ name, body, msMax }: GuestTest): Promise<GuestResult> {
  const notes: string[] = []
  const began = Date.now()
  let timer: NodeJS.Timeout | undefined
  try {
    const tooLong = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`took longer than ${msMax} ms`)), msMax)
    })
    await Promise.race([body((text) => notes.push(text)), tooLong])
    return { name, ms: Date.now() - began, notes }
  } catch (error) {
    return { name, ms: Date.now() - began, notes, error: error instanceof Error ? `${error.stack}` : String(error) }
  } finally {
    clearTimeout(timer)
  }
}
