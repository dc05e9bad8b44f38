/**
 * The guest: four NUMA nodes, of which the last has memory only, and persistent memory, in software emulation. All that it needs lies in its initramfs,
 * so it has no disk: BusyBox, modules, this machine's own Node.js with its libraries, Samepage compiled and the packages that it depends on.
 *
 * ```
 *   node      0      1      2      3          pmem   nvdimm on node 3, made a DAX-capable namespace, XFS with reflink, at /pmem
 *   0        10     12     20     30
 *   1        12     10     20     20          ttyS0  console of the kernel
 *   2        20     20     10     12          ttyS1  a line of JSON for each test
 *   3        30     20     12     10   no CPU
 *   4        40     40     40     40   not there until a test plugs its memory in: a second nvdimm, as a DAX device
 * ```
 * What it cannot show: real latencies (all memory is equally far, JavaScript is many times slower) and cache lines that were not flushed: the emulation has no processor caches, what was stored before a reset is there after it,
 * in the order in which it was stored.
 */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { busybox, copyModules, findKernel, packInitramfs } from '../../support/guest-kernel.ts'
import { findProgram } from '../../support/requires.ts'
import { ROOT } from '../../support/sources.ts'
import type { GuestResult } from './guest-test.ts'

/** What a test needs to boot one. */
export const GUEST_REQUIRES = [
  'guest-kernel',
  ...['qemu-system-x86_64', 'busybox', 'cpio', 'mkfs.xfs'].map((name) => `program:${name}` as const),
] as const

export const NODES = 4
const CPUS = 3
const NODE_MIB = 640
const PMEM_MIB = 512
/** Of what can be plugged in: two blocks of memory, and what the device itself needs. */
const PLUGGED_MIB = 384
const DISTANCES = [
  [10, 12, 20, 30, 40],
  [12, 10, 20, 20, 40],
  [20, 20, 10, 12, 40],
  [30, 20, 12, 10, 40],
  [40, 40, 40, 40, 10],
]

const MODULES = [
  'nfit',
  'nd_pmem',
  'dax_pmem',
  'device_dax',
  'kmem',
  'xfs',
  'crc32c_generic',
  'crc32c_intel',
  'fuse',
  'loop',
]
/** Of the console, as much as may tell why the guest failed. */
const CONSOLE_LINES = 40

export interface GuestRun {
  readonly results: readonly GuestResult[]
  /** The end of what the kernel and the init printed. */
  readonly console: string
}

/** Boots a guest that runs the tests, and waits until it is gone. `compiled`: the directory to which they were compiled. */
export async function runGuest(compiled: string, msMax: number): Promise<GuestRun> {
  using machine = new Machine(compiled)
  const results: GuestResult[] = []
  const console = await machine.boot('main', { msMax, onLine: (line) => results.push(JSON.parse(line)) })
  return { results, console }
}

export interface BootOptions {
  /** After so long it is switched off. */
  readonly msMax: number
  /** For the program, in its environment; without blanks. */
  readonly variables?: Readonly<Record<string, string>>
  /** Of the lines that the program prints, those of JSON; `reset` takes the power away at once. */
  readonly onLine: (line: string, reset: () => void) => void
}

/** A guest that can be booted over and over: its persistent memory stays what it is. */
export class Machine implements Disposable {
  readonly #directory = fs.mkdtempSync(path.join(os.tmpdir(), 'samepage-guest-'))
  readonly #initramfs = path.join(this.#directory, 'initramfs')
  readonly #pmem = path.join(this.#directory, 'pmem')

  constructor(compiled: string) {
    try {
      const tree = path.join(this.#directory, 'tree')
      fill(tree, compiled)
      packInitramfs(tree, this.#initramfs)
      fs.rmSync(tree, { recursive: true })
      fs.writeFileSync(this.#pmem, '')
      fs.truncateSync(this.#pmem, PMEM_MIB << 20)
    } catch (error) {
      this[Symbol.dispose]()
      throw error
    }
  }

  /** Runs one program of this directory, and waits until the guest is gone. Resolves with the end of what the kernel and the init printed. */
  async boot(program: string, { msMax, variables = {}, onLine }: BootOptions): Promise<string> {
    const log = path.join(this.#directory, 'console')
    const environment = Object.entries({ samepage_program: program, ...variables }).map(
      ([name, value]) => `${name}=${value}`,
    )
    const child = spawn(
      'qemu-system-x86_64',
      [
        ...['-M', 'pc,nvdimm=on,usb=off', '-nodefaults', '-no-reboot', '-display', 'none'],
        ...['-accel', 'tcg,thread=multi,tb-size=1024', '-cpu', 'Nehalem,+clflushopt,+clwb'],
        ...['-smp', `${CPUS},sockets=${CPUS}`, '-m', `${NODES * NODE_MIB}M,slots=4,maxmem=8G`],
        ...topology(),
        ...['-object', `memory-backend-file,id=pmem,share=on,mem-path=${this.#pmem},size=${PMEM_MIB}M`],
        ...['-device', `nvdimm,memdev=pmem,id=nvdimm0,node=${NODES - 1}`],
        ...['-object', `memory-backend-ram,id=plugged,share=on,size=${PLUGGED_MIB}M`],
        ...['-device', `nvdimm,memdev=plugged,id=nvdimm1,node=${NODES}`],
        ...['-chardev', `file,id=console,path=${log}`, '-serial', 'chardev:console', '-serial', 'stdio'],
        ...['-kernel', findKernel(), '-initrd', this.#initramfs, '-append'],
        `console=ttyS0 quiet panic=-1 mitigations=off nopti tsc=reliable random.trust_cpu=1 audit=0 no_timer_check ${environment.join(' ')}`,
      ],
      { stdio: ['ignore', 'pipe', 'pipe'], timeout: msMax },
    )
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (line.startsWith('{')) onLine(line, () => child.kill('SIGKILL'))
    })
    let complaints = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => (complaints += text))
    await once(child, 'close')
    const lines = fs.existsSync(log) ? fs.readFileSync(log, 'utf8').split('\n').slice(-CONSOLE_LINES) : []
    return complaints + lines.join('\n')
  }

  [Symbol.dispose](): void {
    fs.rmSync(this.#directory, { recursive: true })
  }
}

function topology(): string[] {
  const args: string[] = []
  for (let node = 0; node < NODES; node++) {
    args.push(
      '-object',
      `memory-backend-ram,id=m${node},size=${NODE_MIB}M`,
      '-numa',
      `node,nodeid=${node},memdev=m${node}`,
    )
    if (node < CPUS) args.push('-numa', `cpu,node-id=${node},socket-id=${node}`)
  }
  args.push('-numa', `node,nodeid=${NODES}`)
  for (let from = 0; from < DISTANCES.length; from++)
    for (let to = from + 1; to < DISTANCES.length; to++)
      args.push('-numa', `dist,src=${from},dst=${to},val=${DISTANCES[from]![to]}`)
  return args
}

function fill(tree: string, compiled: string): void {
  const at = (name: string) => path.join(tree, name)
  for (const name of ['bin', 'dev', 'proc', 'sys', 'tmp', 'pmem', 'modules', 'samepage'])
    fs.mkdirSync(at(name), { recursive: true })
  fs.copyFileSync(busybox(), at('bin/busybox'))
  for (const [name, file] of [
    ['node', process.execPath],
    ['mkfs.xfs', findProgram('mkfs.xfs')!],
  ] as const) {
    fs.copyFileSync(file, at(`bin/${name}`))
    copyLibraries(file, tree)
  }
  for (const name of ['src', 'test']) fs.cpSync(path.join(compiled, name), at(`samepage/${name}`), { recursive: true })
  fs.copyFileSync(path.join(ROOT, 'package.json'), at('samepage/package.json'))
  copyPackages(
    Object.keys(JSON.parse(fs.readFileSync(path.join(ROOT, 'package.json'), 'utf8')).dependencies),
    at('samepage'),
  )
  const modules = copyModules(MODULES, at('modules'))
  fs.writeFileSync(at('init'), init(modules), { mode: 0o755 })
}

/** The shared libraries that a program is linked with, to where it looks for them. */
function copyLibraries(program: string, tree: string): void {
  const output = execFileSync('ldd', [program], { encoding: 'utf8' })
  for (const [, file] of output.matchAll(/(?:=> |^\s*)(\/\S+)/gm)) {
    const target = path.join(tree, file!)
    fs.mkdirSync(path.dirname(target), { recursive: true })
    fs.copyFileSync(file!, target)
  }
}

/** Packages, and those that they depend on, where they are installed. */
function copyPackages(names: readonly string[], target: string): void {
  for (const name of names) {
    const source = path.join(ROOT, 'node_modules', name)
    const copy = path.join(target, 'node_modules', name)
    if (!fs.existsSync(source) || fs.existsSync(copy)) continue
    fs.cpSync(source, copy, { recursive: true, dereference: true })
    const { dependencies = {}, optionalDependencies = {} } = JSON.parse(
      fs.readFileSync(path.join(source, 'package.json'), 'utf8'),
    )
    copyPackages([...Object.keys(dependencies), ...Object.keys(optionalDependencies)], target)
  }
}

/**
 * A namespace that begins raw has no struct pages, and so no DAX: it is claimed by a pfn device, as ndctl does it. Where that was done in an earlier boot the kernel finds it, and there is a file system. What
 * the kernel's command line has and the kernel does not know comes to init as variables.
 */
function init(modules: readonly string[]): string {
  return `#!/bin/busybox sh
export PATH=/bin HOME=/tmp
/bin/busybox --install -s /bin
mount -t proc none /proc
mount -t sysfs none /sys
mount -t devtmpfs none /dev
mkdir -p /dev/shm && mount -t tmpfs none /dev/shm
for module in ${modules.join(' ')}; do insmod /modules/$module.ko; done
echo "init: modules $(cut -d' ' -f1 /proc/uptime)"
cd /sys/bus/nd
for i in 1 2 3 4 5 6 7 8 9; do test -b /dev/pmem0 || usleep 200000; done
if ! grep -qsx namespace0.0 devices/pfn0.*/namespace; then
  echo namespace0.0 > drivers/nd_pmem/unbind
  cat /proc/sys/kernel/random/uuid > devices/pfn0.0/uuid
  echo ram > devices/pfn0.0/mode
  echo namespace0.0 > devices/pfn0.0/namespace
  echo pfn0.0 > drivers/nd_pmem/bind
  mkfs.xfs -q -f -m reflink=1 /dev/pmem0
fi
mount -t xfs -o dax=always /dev/pmem0 /pmem || echo "init: no persistent memory"
echo "init: pmem $(cut -d' ' -f1 /proc/uptime)"
echo namespace1.0 > drivers/nd_pmem/unbind
cat /proc/sys/kernel/random/uuid > devices/dax1.0/uuid
echo ram > devices/dax1.0/mode
echo namespace1.0 > devices/dax1.0/namespace
echo dax1.0 > drivers/dax_pmem/bind
cd /samepage
stty -F /dev/ttyS1 raw
node test/guest/rig/$samepage_program.js > /dev/ttyS1
echo "init: node ended with $? $(cut -d' ' -f1 /proc/uptime)"
umount /pmem
poweroff -f
`
}
