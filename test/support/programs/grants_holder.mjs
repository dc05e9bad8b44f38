// Holds ranges of a file one after the other, as fast as it can; the stamps are those of grants_stress.py.
// grants_holder.mjs DIST FILE SEED SECONDS: prints how often it has published each group.
import fs from 'node:fs'

const [dist, file, seed, seconds] = process.argv.slice(2)
const { GrantClient } = await import(`${dist}/exclusive/grant-client.js`)
const { grantSockets } = await import(`${dist}/exclusive/mounts.js`)
const GROUP_BYTES = 64 * 4096
const GROUPS = 4

let state = Number(seed) || 1
function random(n) {
  state ^= state << 13
  state ^= state >>> 17
  state ^= state << 5
  return (state >>> 0) % n
}

const { dev } = fs.statSync(file)
const client = GrantClient.connect(grantSockets(`${(dev >>> 8) & 0xfff}:${(dev & 0xff) | ((dev >>> 12) & 0xfff00)}`))
await client.show(file)
const published = new Array(GROUPS).fill(0)
const bytes = Buffer.alloc(GROUP_BYTES)
const stamps = new BigUint64Array(bytes.buffer, bytes.byteOffset, GROUP_BYTES / 8)
for (const end = Date.now() + Number(seconds) * 1000; Date.now() < end; ) {
  const group = random(GROUPS)
  const grant = await client.want({
    range: { start: group * GROUP_BYTES, end: (group + 1) * GROUP_BYTES },
    readers: random(2) === 0 ? 'wait' : 'last-published',
    wait: true,
    timeoutMs: null,
    onRevoke() {},
    onTaken() {},
  })
  fs.readSync(grant.memory, bytes, 0, GROUP_BYTES, 0)
  if (stamps.some((stamp) => stamp !== stamps[0])) throw new Error(`group ${group} was given torn`)
  stamps.fill(stamps[0] + 1n)
  fs.writeSync(grant.memory, bytes, 0, GROUP_BYTES, 0)
  if (random(10) === 0) await grant.abandon()
  else {
    await grant.publish(false)
    published[group]++
  }
}
process.stdout.write(JSON.stringify(published))
client.close()
