/**
 * A systemd of our own: the real one, as the first process of new namespaces (processes, mounts, cgroups). It goes, with all that
 * it started and mounted, when it is disposed of or the tests end.
 *
 *     await using systemd = await bootSystemd(directory)
 *     systemd.writeUnit('samepage@.service', text)
 *     systemd.control('start', 'samepage@srv.service')
 *
 * **What keeps the machine safe from it.** A systemd that boots as on a real machine empties /tmp, sets sysctls and runs udev. So
 * (1) it knows no unit and no generator but those that the test writes, and (2) before it starts, everything that is mounted is
 * made read-only in its namespace, /proc/sys too, except `directory`, where the test's file systems lie, and its own /run; and
 * where one of the usual places can still be written, it does not start.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { readMountInfo } from '../../src/linux/mountinfo.ts'
import { eventually } from './eventually.ts'
import { PROGRAM } from './mounted.ts'
import { findProgram } from './requires.ts'

/** What happens in the new namespaces; the argument is the directory that stays writable. */
const BOOT = `
set -eu
own=$1
mount --rbind "$own" "$own"
for file in /proc/sys /proc/sysrq-trigger; do
  if [ -e "$file" ]; then mount --bind "$file" "$file"; fi
done
# The last mounted first: what lies in another mount goes with it.
mounts=$(tac /proc/self/mountinfo)
while read -r _ _ _ _ escaped rest; do
  target=$(printf '%b' "$escaped")
  case $target,$rest in
    /proc,* | "$own",* | "$own"/*) continue ;;
    # Of others: a copy of it here would keep it from being unmounted there, and a FUSE mount may hang whoever looks at it.
    /tmp/* | /var/tmp/* | *' - fuse'*) done=$(umount --lazy --no-canonicalize "$target" 2>&1) && continue ;;
    *) done=$(mount -o remount,bind,ro "$target" 2>&1) && continue ;;
  esac
  # Its owner may just have removed it, mountpoint and all.
  if grep -qF " $escaped " /proc/self/mountinfo; then
    echo "$done" >&2
    exit 1
  fi
done <<END
$mounts
END
for place in / /tmp /var /var/tmp /var/log /etc /home /root /dev /dev/shm /proc/sys/kernel /sys; do
  if [ -w "$place" ]; then
    echo "$place can be written: systemd is not started" >&2
    exit 1
  fi
done
mount --bind "$own/programs" /usr/local/bin
mount --bind "$own/run" /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
export container=samepage-test SYSTEMD_UNIT_PATH=/run/systemd/system SYSTEMD_GENERATOR_PATH=/run/none
exec ${findProgram('systemd')} --system --unit=basic.target --log-target=null --show-status=no
`

/** What services and the end of systemd need, with nothing in them. */
const EMPTY_UNITS = ['basic.target', 'sysinit.target', 'shutdown.target']

export interface Outcome {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

export async function bootSystemd(directory: string): Promise<Systemd> {
  const systemd = new Systemd(directory)
  try {
    await systemd.booted()
  } catch (error) {
    await systemd[Symbol.asyncDispose]()
    throw error
  }
  return systemd
}

export class Systemd implements AsyncDisposable {
  readonly #child: ChildProcess
  readonly #cgroup: string
  /** Its /run, as seen from outside. */
  readonly #run: string
  readonly #log: string
  #pid = 0
  #complaints = ''

  constructor(directory: string) {
    this.#cgroup = newCgroup()
    this.#run = path.join(directory, 'run')
    this.#log = path.join(directory, 'run/services.log')
    const programs = path.join(directory, 'programs')
    const units = path.join(this.#run, 'systemd/system')
    for (const name of [units, programs]) fs.mkdirSync(name, { recursive: true })
    for (const name of EMPTY_UNITS) fs.writeFileSync(path.join(units, name), '[Unit]\nDefaultDependencies=no\n')
    // There is no journal: what services say goes to a file.
    fs.mkdirSync(path.join(units, 'service.d'))
    const log = `[Service]\nStandardOutput=append:${this.#log}\nStandardError=append:${this.#log}\n`
    fs.writeFileSync(path.join(units, 'service.d/log.conf'), log)
    // Where the default search path of services finds it.
    const samepage = path.join(programs, 'samepage')
    fs.writeFileSync(samepage, `#!/bin/sh\nexec '${process.execPath}' '${PROGRAM}' "$@"\n`)
    fs.chmodSync(samepage, 0o755)

    const script = `
      echo $$ > ${this.#cgroup}/cgroup.procs
      exec unshare --pid --mount --cgroup --fork --kill-child --mount-proc --propagation private sh -c "$1" boot '${directory}'`
    // A group of its own, so that a Ctrl-C for the tests is not one for systemd.
    this.#child = spawn('sh', ['-c', script, 'unshare', BOOT], { stdio: ['ignore', 'ignore', 'pipe'], detached: true })
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#complaints += text
    })
    process.on('exit', this.#kill)
  }

  async booted(): Promise<void> {
    this.#pid = await eventually(() => {
      // The child of unshare, which is what the shell became.
      if (this.#child.exitCode !== null) throw new Error(`systemd could not be started: ${this.#complaints}`)
      const [pid] = fs.readFileSync(`/proc/${this.#child.pid}/task/${this.#child.pid}/children`, 'utf8').split(' ')
      if (pid === undefined || pid === '') throw new Error(`systemd has not started: ${this.#complaints}`)
      if (!fs.readFileSync(`/proc/${pid}/comm`, 'utf8').startsWith('systemd'))
        throw new Error('systemd has not started')
      return Number(pid)
    })
    await eventually(() => {
      const { stdout, stderr } = this.control('is-system-running')
      if (!/^(running|degraded)/.test(stdout)) throw new Error(`systemd: ${stdout}${stderr}`)
    })
  }

  /** Writes a unit, or a drop-in for one (`name.service.d/any.conf`). */
  writeUnit(name: string, text: string): void {
    const file = path.join(this.#run, 'systemd/system', name)
    fs.mkdirSync(path.dirname(file), { recursive: true })
    fs.writeFileSync(file, text)
    this.control('daemon-reload')
  }

  control(...args: string[]): Outcome {
    return this.execute('systemctl', '--no-pager', ...args)
  }

  /** Starts a unit; throws what its services said where that fails. */
  start(unit: string): void {
    const { status, stderr } = this.control('start', unit)
    if (status !== 0) throw new Error(`${stderr}${this.log}`)
  }

  /** What the services have said. */
  get log(): string {
    return fs.existsSync(this.#log) ? fs.readFileSync(this.#log, 'utf8') : ''
  }

  /** One property of a unit, as `systemctl show` has it. */
  property(unit: string, property: string): string {
    return this.control('show', '--value', '--property', property, unit).stdout.trim()
  }

  /** Runs a program in the namespaces. */
  execute(program: string, ...args: string[]): Outcome {
    const inside = ['--target', String(this.#pid), '--mount', '--pid', '--cgroup', program, ...args]
    const { status, stdout, stderr } = spawnSync('nsenter', inside, { encoding: 'utf8', timeout: 60_000 })
    return { status, stdout, stderr }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    process.off('exit', this.#kill)
    this.#kill()
    await eventually(() => removeCgroup(this.#cgroup))
  }

  readonly #kill = () => {
    // --kill-child: systemd goes with unshare, and everything in its namespace with systemd.
    this.#child.kill('SIGKILL')
  }
}

/** A new cgroup of the second version, wherever that is mounted. */
function newCgroup(): string {
  let root = readMountInfo().find(({ type }) => type === 'cgroup2')?.mountpoint
  if (root === undefined) {
    root = fs.mkdtempSync('/run/samepage-cgroup-')
    execFileSync('mount', ['-t', 'cgroup2', 'cgroup2', root])
  }
  return fs.mkdtempSync(path.join(root, 'samepage-test-'))
}

function removeCgroup(directory: string): void {
  const entries = fs.readdirSync(directory, { withFileTypes: true })
  for (const entry of entries) if (entry.isDirectory()) removeCgroup(path.join(directory, entry.name))
  fs.rmdirSync(directory)
}
