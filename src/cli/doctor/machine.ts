/** What this machine and this user's privileges can do for Samepage, whatever file system the files are on. */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import { fileURLToPath } from 'node:url'
import { CacheStat } from '../../linux/cachestat.ts'
import { SystemError } from '../../linux/errors.ts'
import { close, O_RDONLY, open } from '../../linux/file.ts'
import { isKernelOlder } from '../../linux/kernel-version.ts'
import { raiseDescriptorLimit } from '../../linux/rlimit.ts'
import { UserError } from '../../util/user-error.ts'
import { defaultWorkers, descriptorsNeeded } from '../mount-checks.ts'
import { about, type Finding } from './finding.ts'
import { type FuseProbe, probeFuse } from './fuse-probe.ts'

/** FUSE 7.31, and Linux with FUSE passthrough. */
const KERNEL_MIN = [5, 4] as const
const KERNEL_PASSTHROUGH = [6, 9] as const
/** The first version of Node.js that is not past its end of life. */
const NODE_ALIVE = 22
/** The default of `mount --max-homes`; a quarter of the descriptors may be homes. */
const HOMES = 10_000
const HOMES_PART = 4
const CAP_SYS_ADMIN = 21n

const isRoot = process.geteuid?.() === 0

/** Examines the machine. `backingFd`: a file to try passthrough with. */
export async function examineMachine(backingFd: number | undefined): Promise<Finding[]> {
  const probe = await probeFuse(backingFd).catch((error: unknown) => error as Error)
  return [
    examineKernel(),
    examineNode(),
    examinePrivileges(),
    examineFuse(probe),
    ...(probe instanceof Error ? [] : [examinePassthrough(probe), examineMmap(probe)]),
    examineFusermount(),
    examineAllowOther(),
    examineDescriptors(),
    examineCachestat(),
    examineSystemd(),
  ]
}

function examineKernel(): Finding {
  const here = about('kernel', 'kernel')
  const release = `Linux ${os.release()}`
  if (isKernelOlder(...KERNEL_MIN))
    return here.missing(`${release} is too old`, 'Linux 5.4 is needed, 6.9 or newer is best')
  if (isKernelOlder(...KERNEL_PASSTHROUGH))
    return here.limited(
      `${release}: all reads go through the daemon, because it has no FUSE passthrough`,
      'Linux 6.9 or newer reads unshared files and undiverged clones at native speed',
    )
  return here.ok(release)
}

function examineNode(): Finding {
  const here = about('node', 'Node.js')
  const major = Number.parseInt(process.versions.node, 10)
  if (major >= NODE_ALIVE) return here.ok(process.version)
  return here.limited(
    `${process.version} works, but is past its end of life and gets no security fixes`,
    'use the newest LTS release',
  )
}

function examinePrivileges(): Finding {
  const here = about('privileges', 'privileges')
  const status = fs.readFileSync('/proc/self/status', 'utf8')
  const capabilities = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`)
  if (isRoot && (capabilities >> CAP_SYS_ADMIN) & 1n)
    return here.ok(
      isInitialUserNamespace() ? 'root, with CAP_SYS_ADMIN' : 'root of a user namespace, with CAP_SYS_ADMIN in it',
    )
  if (isRoot)
    return here.limited(
      'root without CAP_SYS_ADMIN, as in a container: it may not mount',
      'start the container with --cap-add SYS_ADMIN --device /dev/fuse',
    )
  return here.limited(
    `ordinary user (${process.geteuid?.()}): clones are read through the daemon, and only this user sees the mount`,
    'mount as root for passthrough and for everybody',
  )
}

function isInitialUserNamespace(): boolean {
  // The initial one maps all numbers to themselves.
  return /^\s*0\s+0\s+4294967295\s*$/.test(fs.readFileSync('/proc/self/uid_map', 'utf8'))
}

function examineFuse(probe: FuseProbe | Error): Finding {
  const here = about('fuse', 'FUSE')
  if (!(probe instanceof Error)) {
    const module = fs.existsSync('/sys/module/fuse/initstate') ? 'a module' : 'built in'
    return here.ok(`protocol 7.${probe.session.minor}, ${module}: a mount was made and ended`)
  }
  if (probe instanceof UserError) return here.missing(probe.message)
  const code = probe instanceof SystemError ? probe.code : undefined
  if (code === 'ENODEV') return here.missing('the kernel has no FUSE', 'modprobe fuse')
  return here.missing(`a mount could not be made: ${probe.message}`)
}

function examinePassthrough({ session, backing }: FuseProbe): Finding {
  const here = about('passthrough', 'passthrough')
  const without = 'all reads go through the daemon'
  if (!session.passthrough)
    return isKernelOlder(...KERNEL_PASSTHROUGH)
      ? here.limited(`not in this kernel: ${without}`, 'Linux 6.9 or newer')
      : here.limited(`not in this kernel: ${without}`, 'a kernel built with CONFIG_FUSE_PASSTHROUGH=y')
  if (backing > 0)
    return here.ok('a file was registered: unshared files and undiverged clones are read at native speed')
  const { code } = new SystemError(-backing, 'ioctl')
  if (code === 'EPERM') return here.limited(`not for this user: ${without}`, 'mount as root (CAP_SYS_ADMIN)')
  if (code === 'ELOOP') return here.limited(`not on this file system, which lies on another one: ${without}`)
  return here.limited(`refused by the kernel (${code}): ${without}`)
}

function examineMmap({ session }: FuseProbe): Finding {
  const here = about('direct-io-mmap', 'mmap of diverged')
  if (session.directIoMmap) return here.ok('reads of diverged files leave no copy in memory; mapping them does')
  return here.limited(
    'each diverged file that is read gets a copy in memory of its own, so that it can be mapped',
    'Linux 6.6 or newer',
  )
}

function examineFusermount(): Finding {
  const here = about('fusermount3', 'fusermount3')
  const { error, stdout } = spawnSync('fusermount3', ['--version'], { encoding: 'utf8' })
  const version = /(\d+(?:\.\d+)+)/.exec(stdout ?? '')?.[1]
  if (error === undefined) return here.ok(`${version ?? 'there'}: ordinary users can mount`)
  const remedy = 'install it (Debian: apt install fuse3)'
  return isRoot
    ? here.limited('not there: only root can mount', remedy)
    : here.missing('not there: this user cannot mount', remedy)
}

function examineAllowOther(): Finding {
  const here = about('allow-other', 'user_allow_other')
  if (isAllowOtherSet()) return here.ok('ordinary users can let others see their mounts (--allow-other)')
  return here.limited(
    `mounts of ordinary users are seen by themselves alone${isRoot ? '; those of root by all' : ''}`,
    'put the line user_allow_other into /etc/fuse.conf',
  )
}

function isAllowOtherSet(): boolean {
  try {
    return /^\s*user_allow_other\s*$/m.test(fs.readFileSync('/etc/fuse.conf', 'utf8'))
  } catch {
    return false
  }
}

function examineDescriptors(): Finding {
  const here = about('descriptors', 'open files')
  const limit = raiseDescriptorLimit()
  const workers = defaultWorkers()
  const needed = descriptorsNeeded(workers)
  const homes = Math.floor(limit / HOMES_PART)
  const found = `at most ${limit.toLocaleString('en-US')}`
  if (limit < needed)
    return here.missing(
      `${found}: a mount needs ${needed} to start, with ${workers} workers, the default here`,
      'raise the hard limit (ulimit -Hn; LimitNOFILE= in a unit), or mount with fewer --workers',
    )
  if (homes >= HOMES) return here.ok(`${found}: room for ${HOMES.toLocaleString('en-US')} homes, the default`)
  return here.limited(
    `${found}: room for ${homes.toLocaleString('en-US')} homes, each of which costs one`,
    `raise the hard limit to ${(HOMES * HOMES_PART * 2).toLocaleString('en-US')} (ulimit -Hn; LimitNOFILE= in a unit)`,
  )
}

function examineCachestat(): Finding {
  const here = about('cachestat', 'cachestat')
  const fd = open(process.execPath, O_RDONLY)
  const error = new CacheStat().read(fd)
  close(fd)
  // EPERM: somebody else's file. Homes are this user's own.
  if (error === 0 || new SystemError(-error, 'cachestat').code === 'EPERM')
    return here.ok('status tells what homes hold in memory')
  return here.limited('not in this kernel: status cannot tell what homes hold in memory', 'Linux 6.5 or newer')
}

function examineSystemd(): Finding {
  const here = about('systemd', 'systemd')
  const unit = fileURLToPath(new URL('../../../packaging/systemd/samepage@.service', import.meta.url))
  if (fs.existsSync('/run/systemd/system')) return here.ok(`runs; a unit for mounts at boot: ${unit}`)
  return here.limited(
    'does not run here',
    'start mounts by hand, or from whatever starts services: samepage mount --daemon',
  )
}
