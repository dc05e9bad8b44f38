/** Mounts as services of a real systemd, which runs here in namespaces of its own. */
import { execFileSync } from 'node:child_process'
import { randomFillSync } from 'node:crypto'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { expect, test } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { type LoopFilesystem, loopFilesystem } from '../support/loopfs.ts'
import { describeWith } from '../support/requires.ts'
import { ROOT } from '../support/sources.ts'
import { bootSystemd, type Systemd } from '../support/systemd.ts'

const MEBIBYTE = 2 ** 20
const UNIT = fs.readFileSync(path.join(ROOT, 'packaging/systemd/samepage@.service'), 'utf8')

describeWith(
  ['root', 'loop', 'xfs', 'fuse', 'program:systemd', 'program:unshare', 'program:nsenter'],
  'under systemd',
  () => {
    test('the systemd of these tests can write nothing outside, and knows no service', async () => {
      await using xfs = await clones()
      const outside = fs.mkdtempSync(path.join(os.tmpdir(), 'samepage-outside-'))
      try {
        fs.writeFileSync(`${outside}/canary`, 'alive')
        await using systemd = await bootSystemd(xfs.directory)
        for (const command of [`rm ${outside}/canary`, `rmdir ${outside}`, 'touch /etc/canary', 'touch /var/canary'])
          expect(systemd.execute('sh', '-c', command).stderr).toContain('Read-only file system')
        expect(systemd.control('list-unit-files', '--no-legend', '--type=service').stdout).toBe('')
        expect(systemd.control('list-units', '--all', '--no-legend', '--type=service').stdout).toBe('')
        expect(fs.readFileSync(`${outside}/canary`, 'utf8')).toBe('alive')
      } finally {
        fs.rmSync(outside, { recursive: true })
      }
    })

    test('the shipped unit mounts in place, is ready when it says so, and unmounts', async () => {
      await using xfs = await clones()
      // A space: systemd takes command lines apart before it fills in the path.
      const source = `${xfs.path}/my images`
      await using systemd = await bootSystemd(xfs.directory)
      systemd.writeUnit('samepage@.service', UNIT)
      const unit = `samepage@${escapePath(source)}.service`

      systemd.start(unit)
      // "start" returned when the service was ready, so the mount is there.
      expect(mountTypes(systemd, source)).toEqual(['fuse.samepage'])
      expect(systemd.execute('cmp', `${source}/a`, `${source}/b`).status).toBe(0)
      expect(systemd.property(unit, 'StatusText')).toBe(`serving ${source}`)
      expect(systemd.property(unit, 'OOMScoreAdjust')).toBe('-900')
      // In a container even root may lack the privilege (CAP_SYS_RESOURCE); systemd goes on without.
      if (hasCapability(24)) expect(oomScoresOf(systemd, unit)).toEqual([-900, -900])

      expect(systemd.control('stop', unit)).toMatchObject({ status: 0, stderr: '' })
      expect(mountTypes(systemd, source)).toEqual([])
      expect(systemd.property(unit, 'Result')).toBe('success')
      expect(systemd.property(unit, 'ActiveState')).toBe('inactive')
      expect(fs.readdirSync(source)).toEqual(['a', 'b'])
    })

    test('the shipped unit takes a mountpoint and options', async () => {
      await using xfs = await clones()
      const source = `${xfs.path}/my images`
      const mountpoint = `${xfs.directory}/other place`
      fs.mkdirSync(mountpoint)
      await using systemd = await bootSystemd(xfs.directory)
      systemd.writeUnit('samepage@.service', UNIT)
      const unit = `samepage@${escapePath(source)}.service`
      systemd.writeUnit(
        `${unit}.d/override.conf`,
        `[Service]\nEnvironment="MOUNTPOINT=${mountpoint}" "OPTIONS=--no-passthrough --workers 3"\n`,
      )

      systemd.start(unit)
      const { stdout, stderr } = systemd.execute('samepage', 'status', '--json', mountpoint)
      expect(stderr).toBe('')
      expect(JSON.parse(stdout)).toMatchObject([{ source, mountpoint, passthrough: false, workers: { count: 3 } }])
      expect(systemd.control('stop', unit).status).toBe(0)
      expect(mountTypes(systemd, mountpoint)).toEqual([])
    })

    test('a mount that is in use at the stop is detached, not left behind', async () => {
      await using xfs = await clones()
      const source = `${xfs.path}/my images`
      await using systemd = await bootSystemd(xfs.directory)
      systemd.writeUnit('samepage@.service', UNIT)
      const unit = `samepage@${escapePath(source)}.service`
      systemd.start(unit)
      systemd.execute('systemd-run', '--unit=user', 'sh', '-c', `exec 3<'${source}/a'; exec sleep 600`)
      await eventually(() => expect(systemd.property('user.service', 'ActiveState')).toBe('active'))

      expect(systemd.control('stop', unit).status).toBe(0)
      expect(mountTypes(systemd, source)).toEqual([])
      expect(systemd.execute('ls', source).stdout).toBe('a\nb\n')
    })

    test('a daemon that dies is started again', async () => {
      await using xfs = await clones()
      const source = `${xfs.path}/my images`
      await using systemd = await bootSystemd(xfs.directory)
      systemd.writeUnit('samepage@.service', UNIT)
      const unit = `samepage@${escapePath(source)}.service`
      systemd.start(unit)

      systemd.control('kill', '--signal=KILL', '--kill-whom=all', unit)
      await eventually(() => {
        expect(systemd.property(unit, 'NRestarts')).not.toBe('0')
        expect(systemd.property(unit, 'ActiveState')).toBe('active')
      }, 20_000)
      expect(systemd.execute('cmp', `${source}/a`, `${source}/b`).status).toBe(0)
    })

    test.each([
      ['notify', 'NotifyAccess=all'],
      ['forking', ''],
    ])('mount --daemon is a service of Type=%s', async (type, access) => {
      await using xfs = await clones()
      const source = `${xfs.path}/my images`
      await using systemd = await bootSystemd(xfs.directory)
      systemd.writeUnit(
        'images.service',
        `[Service]\nType=${type}\n${access}\nExecStart=samepage mount --daemon "${source}"\nExecStop=samepage umount "${source}"\n`,
      )

      systemd.start('images.service')
      expect(systemd.property('images.service', 'ActiveState')).toBe('active')
      const supervisor = Number(systemd.property('images.service', 'MainPID'))
      // By then the process that was started has ended, and systemd knows which one is the service.
      const { stdout } = systemd.execute('ps', '-o', 'args=', '-p', String(supervisor))
      expect(stdout).toContain(`mount --daemon ${source}`)
      expect(systemd.execute('cmp', `${source}/a`, `${source}/b`).status).toBe(0)

      expect(systemd.control('stop', 'images.service')).toMatchObject({ status: 0, stderr: '' })
      expect(systemd.property('images.service', 'Result')).toBe('success')
      expect(mountTypes(systemd, source)).toEqual([])
    })

    test('a mount that cannot be made is a failed service', async () => {
      await using xfs = await clones()
      await using systemd = await bootSystemd(xfs.directory)
      systemd.writeUnit('samepage@.service', UNIT.replace('Restart=on-failure', ''))
      const unit = `samepage@${escapePath(`${xfs.path}/nothing`)}.service`
      expect(systemd.control('start', unit).status).toBe(1)
      expect(systemd.property(unit, 'Result')).toBe('exit-code')
      expect(systemd.property(unit, 'ExecMainStatus')).toBe('1')
    })
  },
)

async function clones(): Promise<LoopFilesystem> {
  const xfs = await loopFilesystem('xfs')
  fs.mkdirSync(`${xfs.path}/my images`)
  fs.writeFileSync(`${xfs.path}/my images/a`, randomFillSync(Buffer.alloc(2 * MEBIBYTE)))
  execFileSync('cp', ['--reflink=always', `${xfs.path}/my images/a`, `${xfs.path}/my images/b`])
  return xfs
}

function escapePath(name: string): string {
  return execFileSync('systemd-escape', ['--path', name], { encoding: 'utf8' }).trim()
}

/** What is mounted at `mountpoint`, of which nothing is a mount before. */
function mountTypes(systemd: Systemd, mountpoint: string): string[] {
  const { stdout } = systemd.execute('findmnt', '--noheadings', '--output', 'FSTYPE', '--mountpoint', mountpoint)
  return stdout.split('\n').filter((line) => line !== '')
}

function oomScoresOf(systemd: Systemd, unit: string): number[] {
  const group = systemd.property(unit, 'ControlGroup')
  const pids = systemd.execute('cat', `/sys/fs/cgroup${group}/cgroup.procs`).stdout.trim().split('\n')
  return pids.map((pid) => Number(systemd.execute('cat', `/proc/${pid}/oom_score_adj`).stdout))
}

function hasCapability(number: number): boolean {
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(fs.readFileSync('/proc/self/status', 'utf8'))?.[1]
  return ((BigInt(`0x${effective}`) >> BigInt(number)) & 1n) === 1n
}
