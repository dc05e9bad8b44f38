/**
 * Whether files are accessed directly (DAX), and where that was meant and is not so, why. The kernel does not say: XFS mounts with `dax=always` on a device that cannot do it,
 * shows `dax=never` from then on, and tells the reason to its log; with `dax=inode` each file has a flag, which it gets from its directory when it is made.
 */
import fs from 'node:fs'
import { clonesKeepDax, isDax } from '../../linux/dax.ts'
import { readMountInfo } from '../../linux/mountinfo.ts'
import { Statfs } from '../../linux/statfs.ts'
import { Statx } from '../../linux/statx.ts'
import { hasDaxFlag } from '../../linux/xfs.ts'
import { PAGE_BYTES } from '../../util/page.ts'
import { about, type Finding } from './finding.ts'

/** What is known of a directory. */
export interface DaxFacts {
  /** A file made there is accessed directly. */
  readonly isDax: boolean
  /** The mount's option, as the kernel shows it: `dax`, `dax=always`, `dax=inode`, `dax=never`. */
  readonly option: string | undefined
  /** The block device, for people; and whether it can do DAX: undefined where that is not told. */
  readonly device: string
  readonly isDeviceDax: boolean | undefined
  /** Of the file system, bytes. */
  readonly blockSize: number
  /** The directory hands the flag for DAX (FS_XFLAG_DAX) on to files that are made in it. */
  readonly isFlagged: boolean
  /** Files that share storage lose it when their inodes are loaded anew. */
  readonly isLostByClones: boolean
}

/** `scratch`: a file that was made in the directory. */
export function examineDax(directoryFd: number, scratch: number): Finding | undefined {
  if (scratch < 0) return undefined
  const stat = new Statx()
  stat.ofFd(directoryFd)
  const mount = readMountInfo().find(({ id }) => id === stat.mountId)
  if (mount === undefined) return undefined
  const statfs = new Statfs()
  statfs.ofFd(directoryFd)
  return explainDax({
    isDax: isDax(scratch),
    option: mount.superOptions.find((option) => /^dax(=|$)/.test(option)),
    device: mount.source,
    isDeviceDax: readQueueDax(mount.device),
    blockSize: statfs.bsize,
    isFlagged: hasDaxFlag(directoryFd),
    isLostByClones: mount.type === 'xfs' && !clonesKeepDax(),
  })
}

/** undefined: nobody meant to have it, and nobody could. */
export function explainDax(facts: DaxFacts): Finding | undefined {
  const { isDax, option, device, isDeviceDax, blockSize, isFlagged, isLostByClones } = facts
  const here = about('dax', 'DAX')
  if (isDax && isLostByClones)
    return here.limited(
      'had by new files; files that share storage lose it when their inodes are loaded anew (after a mount, or under memory pressure), and are cached like others then',
      'Linux 6.2 or newer',
    )
  if (isDax)
    return here.ok(
      'files are read where the device has them, without the page cache: clones cost no memory natively, and none through a mount. The library, and a mount for what it serves itself, can keep hot pages in main memory (option dax)',
    )
  const isMeant = isFlagged || (option !== undefined && option !== 'dax=never')
  if (!isMeant && isDeviceDax !== true && option === undefined) return undefined
  if (isDeviceDax === false) {
    const why = isMeant
      ? 'it was asked for'
      : 'the mount says dax=never, as XFS does also where it was asked for in vain'
    return here.limited(`not had: the block device ${device} cannot do it (${why})`, remedyForDevice(device))
  }
  if (blockSize !== PAGE_BYTES)
    return here.limited(
      `not had: blocks of ${blockSize} bytes are not as large as pages`,
      `make the file system anew with blocks of ${PAGE_BYTES} bytes (mkfs.xfs -b size=${PAGE_BYTES}, mkfs.ext4 -b ${PAGE_BYTES})`,
    )
  if (option === 'dax=never')
    return here.limited(
      'not had: the mount says dax=never, as XFS does also where it was asked for in vain',
      'mount with dax=always; where it stays so, the kernel log says why (dmesg | grep -i dax)',
    )
  if (option === undefined || option === 'dax=inode')
    return isFlagged
      ? here.limited(
          'not had, although the directory has the flag for it',
          'the kernel log may say why (dmesg | grep -i dax)',
        )
      : here.limited(
          'not had, although the device can: files made here do not get the flag for it',
          'mount with dax=always; or set the flag (xfs_io -c "chattr +x" DIRECTORY) and copy the files anew: it is handed on to those that are made from then on',
        )
  return here.limited(`not had, although the mount says ${option}`, 'the kernel log may say why (dmesg | grep -i dax)')
}

function remedyForDevice(device: string): string {
  return /pmem/.test(device)
    ? 'its namespace must have mode fsdax: ndctl create-namespace --force --reconfig=NAMESPACE --mode=fsdax, which erases it (ndctl list shows the mode); partitions must begin at a whole page'
    : 'it takes persistent memory, as /dev/pmem0, or LVM of nothing else, without encryption, RAID or a loop device in between'
}

/** Whether a block device `major:minor`, or the disk that it is a partition of, can do DAX. */
function readQueueDax(device: string): boolean | undefined {
  for (const queue of ['queue', '../queue'])
    try {
      return fs.readFileSync(`/sys/dev/block/${device}/${queue}/dax`, 'utf8').trim() === '1'
    } catch {
      // No partition, no block device, or a kernel that does not tell.
    }
  return undefined
}
