/** Which mount a name leads to, on kernels whose statx(2) tells and on those (before 5.8) where it does not. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { FilesystemTable } from '../../../src/daemon/filesystem-table.ts'
import { InodeFiles } from '../../../src/daemon/inode-files.ts'
import { InodeTable, SLOT } from '../../../src/daemon/inode-table.ts'
import { close, O_DIRECTORY, O_PATH, open } from '../../../src/linux/file.ts'
import { statFd } from '../../../src/linux/mount-id.ts'
import { cString, type Pointer } from '../../../src/linux/native.ts'
import { STATX_MNT_ID, Statx } from '../../../src/linux/statx.ts'

/** As Linux 5.4 answers. */
class OldStatx extends Statx {
  override ofFd(fd: number, mask?: number): number {
    return this.#forgetMount(super.ofFd(fd, mask))
  }

  override at(dirFd: number, name: Pointer, mask?: number): number {
    return this.#forgetMount(super.at(dirFd, name, mask))
  }

  #forgetMount(result: number): number {
    this.words[0]! &= ~STATX_MNT_ID
    this.words.fill(0, 36, 38)
    return result
  }
}

describe.each([
  ['statx tells the mount', Statx],
  ['statx does not', OldStatx],
])('%s', (_, Stat) => {
  let rootFd: number
  beforeEach(() => {
    rootFd = open('/', O_PATH | O_DIRECTORY)
  })
  afterEach(() => close(rootFd))

  /** The source is the root of all. */
  function openFiles(cross: boolean) {
    const inodes = new InodeTable(InodeTable.allocate(16))
    const filesystems = new FilesystemTable(FilesystemTable.allocate(16))
    const root = new Stat()
    expect(statFd(root, rootFd)).toBe(0)
    const source = { rootFd, handleMountFd: -1, rootMountId: root.mountId, cross, domain: 'none' } as const
    const files = new InodeFiles(inodes, filesystems, source, 1024)
    files.addRoot(root, false)
    const lookUp = (name: string) => files.lookUp(0, cString(name), new Stat())
    return { inodes, filesystems, files, lookUp }
  }

  test('what is mounted below the source is another file system', () => {
    const { inodes, filesystems, files, lookUp } = openFiles(true)
    const [proc, etc] = [lookUp('proc'), lookUp('etc')]
    expect(filesystems.isOfMount(inodes.get(proc, SLOT.FS))).toBe(false)
    expect(filesystems.isOfMount(inodes.get(etc, SLOT.FS))).toBe(true)
    expect(files.isHidden(proc)).toBe(false)
    for (const slot of [proc, etc]) files.free(slot)
  })

  test('and is not shown unless that was asked for', () => {
    const { files, lookUp } = openFiles(false)
    const [proc, etc] = [lookUp('proc'), lookUp('etc')]
    expect(files.isHidden(proc)).toBe(true)
    expect(files.isHidden(etc)).toBe(false)
    for (const slot of [proc, etc]) files.free(slot)
  })
})
