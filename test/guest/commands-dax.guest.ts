/** What inspect and doctor say of files on persistent memory. Called, not run: a process takes ten seconds to start here. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import { examinePlace } from '../../src/cli/doctor/place.ts'
import { measure } from '../../src/inspect/measure.ts'
import { buildReport } from '../../src/inspect/report.ts'
import { clonesKeepDax, isDax } from '../../src/linux/dax.ts'
import { clone } from './rig/files.ts'
import { guestTest } from './rig/guest-test.ts'

const BYTES = 4 << 20

guestTest('inspect: clones on DAX are cached by nobody, before and after all are read', () => {
  const directory = '/pmem/inspected'
  fs.mkdirSync(directory)
  try {
    fs.writeFileSync(`${directory}/original`, Buffer.alloc(BYTES, 'content '), { flush: true })
    for (const name of ['a', 'b']) clone(`${directory}/original`, `${directory}/${name}`)
    fs.writeFileSync(`${directory}/alone`, Buffer.alloc(BYTES, 'other '), { flush: true })
    for (const read of [false, true]) {
      if (read) for (const name of fs.readdirSync(directory)) fs.readFileSync(`${directory}/${name}`)
      const options = { paths: [directory], include: [], exclude: [], xdev: false, sync: false }
      const report = buildReport(measure(options), 10, null)
      assert.deepEqual(report.direct, { files: 4, allocatedBytes: 4 * BYTES })
      const { cachedBytes, duplicateBytes, potentialBytes, rereadBytes, sharedBytes, diskBytes } = report.totals
      assert.deepEqual({ cachedBytes, duplicateBytes, potentialBytes, rereadBytes }, NOTHING)
      assert.deepEqual({ sharedBytes, diskBytes }, { sharedBytes: BYTES, diskBytes: 2 * BYTES })
      assert.deepEqual(
        report.groups.map(({ files, potentialBytes }) => ({ files, potentialBytes })),
        [{ files: 3, potentialBytes: 0 }],
      )
      assert.match(report.notes.join('\n'), /^4 files of 16\.0 MiB are read where the storage has them/)
    }
  } finally {
    fs.rmSync(directory, { recursive: true })
  }
})

guestTest('doctor: DAX where it is, and why not where it was asked for in vain', async (note) => {
  assert.match((await findingAt('/pmem')).means, /new files/)
  // A loop device cannot do it. XFS mounts all the same.
  const [image, mountpoint] = ['/pmem/plain', '/tmp/plain']
  fs.mkdirSync(mountpoint)
  execFileSync('truncate', ['-s', '320M', image])
  execFileSync('mkfs.xfs', ['-q', image])
  execFileSync('mount', ['-t', 'xfs', '-o', 'loop,dax=always', image, mountpoint])
  try {
    const finding = await findingAt(mountpoint)
    note(finding.means)
    assert.match(finding.means, /loop\d* cannot do it/)
    assert.match(finding.remedy!, /persistent memory/)
  } finally {
    execFileSync('umount', [mountpoint])
    fs.rmSync(image)
  }
  // A flag for each file. A remount would be ignored.
  fs.mkdirSync('/pmem/by-file')
  fs.writeFileSync('/pmem/by-file/original', 'content', { flush: true })
  clone('/pmem/by-file/original', '/pmem/by-file/clone')
  mountAnew('dax=inode')
  assert.match((await findingAt('/pmem/by-file')).means, /do not get the flag/)
  mountAnew('dax=always')
  const fd = fs.openSync('/pmem/by-file/clone', 'r')
  assert.equal(isDax(fd), clonesKeepDax(), 'a clone whose inode was loaded anew')
  fs.closeSync(fd)
  fs.rmSync('/pmem/by-file', { recursive: true })
  assert.equal(
    (await examinePlace('/tmp')).findings.find(({ id }) => id === 'dax'),
    undefined,
  )
})

const NOTHING = { cachedBytes: 0, duplicateBytes: 0, potentialBytes: 0, rereadBytes: 0 }

async function findingAt(directory: string) {
  const place = await examinePlace(directory)
  await place.close()
  const finding = place.findings.find(({ id }) => id === 'dax')
  assert.ok(finding !== undefined, `nothing is said of DAX at ${directory}`)
  return finding
}

/** Mounts the persistent memory once more, with another option. */
function mountAnew(option: string): void {
  execFileSync('umount', ['/pmem'])
  execFileSync('mount', ['-t', 'xfs', '-o', option, '/dev/pmem0', '/pmem'])
}
