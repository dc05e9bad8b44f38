/**
 * A small virtual machine in software emulation, with the kernel that `scripts/setup.mjs` unpacked. Its disk is a raw image with a root file
 * system of which it boots: BusyBox, some data, and an init that reads and writes and tells on the console what it found.
 *
 *     writeGuestDisk(`${directory}/disk`, 64 << 20)
 *     const guest = startGuest(`${directory}/disk`, 'writeback')
 *     await guest.ended
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { noise } from './files.ts'
import { busybox, copyModules, findKernel, packInitramfs } from './guest-kernel.ts'

const PATIENCE_MS = 120_000

/** What the kernel starts first: it goes over to the disk. */
const firstInit = (modules: readonly string[]) => `#!/bin/busybox sh
/bin/busybox mount -t devtmpfs none /dev
for module in ${modules.join(' ')}; do /bin/busybox insmod /$module.ko; done
for i in 1 2 3 4 5 6 7 8 9; do /bin/busybox test -b /dev/vda || /bin/busybox usleep 200000; done
/bin/busybox mount -t ext4 /dev/vda /disk && exec /bin/busybox switch_root /disk /init
echo "guest: cannot boot"
/bin/busybox poweroff -f
`

/** What it does from the disk. Each line that is for us begins with `guest:`. */
const DISK_INIT = `#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc none /proc
mount -t devtmpfs none /dev
echo "guest: booted"
digest() { echo 3 > /proc/sys/vm/drop_caches; sha256sum < /data | cut -d' ' -f1; }
echo "guest: read $(digest)"
dd if=/data of=/copy bs=64k count=64 conv=fsync 2> /dev/null
for i in 1 2 3 4 5 6 7 8; do dd if=/dev/urandom of=/data bs=4k count=3 seek=$((i * 331)) conv=notrunc,fsync 2> /dev/null; done
echo "guest: wrote $(digest)"
mount -o remount,ro / && echo "guest: done"
poweroff -f
`

/** Writes a disk with `dataBytes` of data to read. Returns the digest of the data. */
export function writeGuestDisk(image: string, dataBytes: number): string {
  return withDirectory((directory) => {
    for (const name of ['bin', 'dev', 'proc']) fs.mkdirSync(path.join(directory, name))
    fs.copyFileSync(busybox(), path.join(directory, 'bin/busybox'))
    fs.writeFileSync(path.join(directory, 'init'), DISK_INIT, { mode: 0o755 })
    fs.writeFileSync(path.join(directory, 'data'), noise(dataBytes, 5))
    fs.writeFileSync(image, '')
    fs.truncateSync(image, dataBytes + (48 << 20))
    execFileSync('mkfs.ext4', ['-q', '-F', '-d', directory, image])
    execFileSync('sync', [image])
    return digestOf(path.join(directory, 'data'))
  })
}

/** The digest of the data on a disk that no guest uses; throws where its file system is damaged. */
export function inspectGuestDisk(image: string): string {
  execFileSync('e2fsck', ['-f', '-n', image], { stdio: 'pipe' })
  return withDirectory((directory) => {
    const data = path.join(directory, 'data')
    execFileSync('debugfs', ['-R', `dump /data ${data}`, image], { stdio: 'pipe' })
    return digestOf(data)
  })
}

export interface Guest {
  readonly process: ChildProcess
  /** The guest runs from its disk. */
  readonly booted: Promise<void>
  /** What it told, when it is gone. */
  readonly ended: Promise<string[]>
}

/** Boots a guest of which `image` is the disk, which it locks. */
export function startGuest(image: string, cache: 'none' | 'writeback'): Guest {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'samepage-guest-'))
  const [kernel, initramfs] = [findKernel(), writeInitramfs(directory)]
  const drive = `file=${image.replaceAll(',', ',,')},format=raw,if=virtio,cache=${cache},file.locking=on`
  const machine = ['-M', 'q35', '-accel', 'tcg', '-m', '256', '-nodefaults', '-display', 'none', '-no-reboot']
  const boot = ['-kernel', kernel, '-initrd', initramfs, '-append', 'console=ttyS0 quiet panic=-1']
  const args = [...machine, '-serial', 'stdio', '-drive', drive, ...boot]
  const child = spawn('qemu-system-x86_64', args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: PATIENCE_MS })
  let output = ''
  let boots = () => {}
  const booted = new Promise<void>((resolve) => {
    boots = resolve
  })
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text
      if (output.includes('guest: booted')) boots()
    })
  const ended = once(child, 'close').then(([status]) => {
    fs.rmSync(directory, { recursive: true })
    if (status !== 0 || !output.includes('guest: done')) throw new Error(`the guest failed (${status}): ${output}`)
    return [...output.matchAll(/^guest: (.*?)\r?$/gm)].map((line) => line[1]!)
  })
  return { process: child, booted: Promise.race([booted, ended.then(() => {})]), ended }
}

function writeInitramfs(directory: string): string {
  const tree = path.join(directory, 'tree')
  for (const name of ['bin', 'dev', 'disk']) fs.mkdirSync(path.join(tree, name), { recursive: true })
  fs.copyFileSync(busybox(), path.join(tree, 'bin/busybox'))
  const modules = copyModules(['virtio_pci', 'virtio_blk'], tree)
  fs.writeFileSync(path.join(tree, 'init'), firstInit(modules), { mode: 0o755 })
  const file = path.join(directory, 'initramfs')
  packInitramfs(tree, file)
  return file
}

function digestOf(file: string): string {
  return execFileSync('sha256sum', [file], { encoding: 'utf8' }).split(' ')[0]!
}

function withDirectory<Result>(use: (directory: string) => Result): Result {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'samepage-guest-'))
  try {
    return use(directory)
  } finally {
    fs.rmSync(directory, { recursive: true })
  }
}
