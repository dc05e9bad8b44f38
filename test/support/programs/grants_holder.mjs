// Holds ranges of a file one after the other, as fast as it can; the stamps are those of grants_stress.py.
// grants_holder.mjs DIST FILE SEED SECONDS BOARD: prints how often it has published each group.
import fs from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { Board, Dice } from './grants_board.mjs'

const [dist, file, seed, seconds, boardFile] = process.argv.slice(2)
const { connectToGrants, showFile } = await import(`${dist}/exclusive/grant-socket.js`)
const { deviceOf, grantSockets } = await import(`${dist}/exclusive/mounts.js`)
const GROUP_BYTES = 64 * 4096
const GROUPS = 4

const dice = new Dice(seed)
const board = new Board(boardFile)
const client = await connectToGrants(grantSockets(deviceOf(file)))
await showFile(client, file)
const published = new Array(GROUPS).fill(0)
const bytes = Buffer.alloc(GROUP_BYTES)
const stamps = new BigUint64Array(bytes.buffer, bytes.byteOffset, GROUP_BYTES / 8)
for (const end = Date.now() + Number(seconds) * 1000; Date.now() < end; ) {
  const group = dice.below(GROUPS)
  const readers = dice.below(2) === 0 ? 'wait' : 'last-published'
  const grant = await client.want({
    range: { start: group * GROUP_BYTES, end: (group + 1) * GROUP_BYTES },
    readers,
    wait: true,
    timeoutMs: null,
    onRevoke() {},
    onTaken() {},
  })
  board.set(group, true, readers === 'last-published')
  fs.readSync(grant.memory, bytes, 0, GROUP_BYTES, 0)
  if (stamps.some((stamp) => stamp !== stamps[0])) throw new Error(`group ${group} was given torn`)
  stamps.fill(stamps[0] + 1n)
  fs.writeSync(grant.memory, bytes, 0, GROUP_BYTES, 0)
  // Long enough for who does not wait to be seen.
  if (dice.below(2) === 0) await sleep(dice.below(4))
  board.set(group, false, false)
  if (dice.below(10) === 0) await grant.abandon()
  else {
    await grant.publish(false)
    published[group]++
  }
}
process.stdout.write(JSON.stringify(published))
client.close()
