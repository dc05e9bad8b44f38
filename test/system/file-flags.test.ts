/** lsattr(1), chattr(1), project ids: through the mount they say and do what they say and do in the source, for whom they do it there, and for nobody else. */
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import { expect, test } from 'vitest'
import { startClient } from '../support/client.ts'
import { clone, MEBIBYTE, noise, writeSynced } from '../support/files.ts'
import { loopFilesystem } from '../support/loopfs.ts'
import { mounted } from '../support/mounted.ts'
import { describeWith } from '../support/requires.ts'

interface Outcome {
  status: number | null
  output: string
}

/** How a command ends, and what it says, but for the directory. */
function outcome(directory: string, command: readonly string[]): Outcome {
  const [program = '', ...args] = command
  const { status, stdout, stderr } = spawnSync(program, args, { cwd: directory, encoding: 'utf8' })
  return { status, output: (stdout + stderr).replaceAll(directory, '') }
}

const NOBODY = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups']
const NO_FLAG_ROOT = ['setpriv', '--bounding-set=-linux_immutable', '--inh-caps=-linux_immutable']

for (const kind of ['xfs', 'btrfs'] as const)
  describeWith(
    ['root', 'loop', 'fuse', 'program:chattr', 'program:lsattr', 'program:setpriv', kind],
    `flags on ${kind}`,
    () => {
      async function twins() {
        const filesystem = await loopFilesystem(kind)
        const { path } = filesystem
        fs.chmodSync(path, 0o755)
        for (const name of ['through', 'native']) {
          const at = `${path}/${name}`
          fs.mkdirSync(`${at}/directory`, { recursive: true })
          writeSynced(`${at}/original`, noise(9 * MEBIBYTE, 1))
          for (const copy of ['pristine', 'diverged']) clone(`${at}/original`, `${at}/${copy}`)
          const fd = fs.openSync(`${at}/diverged`, 'r+')
          fs.writeSync(fd, 'own', MEBIBYTE)
          fs.fsyncSync(fd)
          fs.closeSync(fd)
          for (const own of ['mine', 'empty']) {
            fs.writeFileSync(`${at}/${own}`, own === 'mine' ? 'mine' : '')
            fs.chownSync(`${at}/${own}`, 65534, 65534)
          }
        }
        return filesystem
      }
      const NAMES = ['original', 'pristine', 'diverged', 'mine', 'empty', 'directory']

      test('are read and set as natively: by root, by owners, by those who may not', async () => {
        await using filesystem = await twins()
        await using mount = await mounted(`${filesystem.path}/through`)
        const native = `${filesystem.path}/native`
        const below = `${filesystem.path}/through`
        const listed = ['lsattr', '-d', ...NAMES]
        const commands: string[][] = [
          listed,
          ...NAMES.flatMap((name) => [
            ['chattr', '+dA', name],
            ['chattr', '-d', name],
          ]),
          ['chattr', '+i', 'pristine'],
          ['chattr', '+a', 'diverged'],
          ['chattr', '+a', 'directory'],
          listed,
          ['sh', '-c', 'echo more >> pristine'],
          ['sh', '-c', 'echo more >> diverged'],
          ['sh', '-c', 'echo over 1<> diverged'],
          ['rm', '-f', 'pristine'],
          ['mv', 'diverged', 'moved'],
          ['sh', '-c', 'echo new > directory/new; rm -f directory/new; ls directory'],
          ['chmod', '600', 'pristine'],
          // Not theirs, and flags that are root's.
          [...NOBODY, 'chattr', '+d', 'mine'],
          [...NOBODY, 'chattr', '+d', 'original'],
          [...NOBODY, 'chattr', '+i', 'mine'],
          [...NOBODY, 'chattr', '-i', 'pristine'],
          [...NO_FLAG_ROOT, 'chattr', '+i', 'original'],
          [...NO_FLAG_ROOT, 'chattr', '-a', 'diverged'],
          [...NO_FLAG_ROOT, 'chattr', '+S', 'original'],
          listed,
          ['chattr', '-i', 'pristine'],
          ['chattr', '-a', 'diverged', 'directory'],
          ...(kind === 'btrfs'
            ? [
                ['chattr', '+C', 'empty'],
                ['chattr', '+C', 'original'],
                ['chattr', '+c', 'directory'],
              ]
            : []),
          ...(kind === 'xfs'
            ? [
                ['xfs_io', '-c', 'chproj 42', '-c', 'lsproj', 'empty'],
                [...NOBODY, 'xfs_io', '-c', 'chproj 7', '-c', 'lsproj', 'mine'],
                [...NOBODY, 'xfs_io', '-r', '-c', 'chproj 7', '-c', 'lsproj', 'original'],
              ]
            : []),
          listed,
          ['sh', '-c', 'echo more >> pristine; rm original; ls'],
        ]
        for (const command of commands)
          expect({ command, ...outcome(mount.path, command) }).toEqual({ command, ...outcome(native, command) })
        const left = ['lsattr', '-d', ...NAMES.filter((name) => name !== 'original')]
        expect(outcome(below, left)).toEqual(outcome(native, left))
        expect(fs.readFileSync(`${mount.path}/diverged`).equals(fs.readFileSync(`${native}/diverged`))).toBe(true)
        expect((await mount.status()).workers).toMatchObject({ restarts: 0, failures: 0 })
      })

      test('that are set move the ctime, which the mount shows at once, also while the file is open', async () => {
        await using filesystem = await twins()
        await using mount = await mounted(`${filesystem.path}/through`)
        for (const name of NAMES) {
          const fd = name === 'directory' ? undefined : fs.openSync(`${mount.path}/${name}`, 'r')
          fs.statSync(`${mount.path}/${name}`)
          expect(outcome(mount.path, ['chattr', '+A', name])).toEqual({ status: 0, output: '' })
          const { ctimeNs } = fs.statSync(`${filesystem.path}/through/${name}`, { bigint: true })
          expect(fs.statSync(`${mount.path}/${name}`, { bigint: true }).ctimeNs).toBe(ctimeNs)
          if (fd !== undefined) {
            expect(fs.readFileSync(fd).equals(fs.readFileSync(`${filesystem.path}/through/${name}`))).toBe(true)
            fs.closeSync(fd)
          }
        }
      })

      test('are read through a mount that is read-only, and not set', async () => {
        await using filesystem = await twins()
        await using mount = await mounted(`${filesystem.path}/through`, { flags: { readOnly: true } })
        const below = `${filesystem.path}/through`
        expect(outcome(below, ['chattr', '+dA', 'pristine']).status).toBe(0)
        const listed = ['lsattr', '-d', ...NAMES]
        expect(outcome(mount.path, listed)).toEqual(outcome(below, listed))
        expect(outcome(mount.path, ['chattr', '-d', 'pristine'])).toMatchObject({
          status: 1,
          output: expect.stringContaining('Read-only file system'),
        })
        expect(outcome(mount.path, listed)).toEqual(outcome(below, listed))
      })

      test('other requests are refused, also by numbers that are nearly those', async () => {
        await using filesystem = await twins()
        await using mount = await mounted(`${filesystem.path}/through`)
        await using client = startClient(NOBODY)
        await client.run('import fcntl, struct')
        await client.run('f = os.open(path, os.O_RDONLY)', { path: `${mount.path}/original` })
        // FS_IOC32_SETFLAGS, FS_IOC_SETFLAGS and FS_IOC_FSSETXATTR with other sizes, FS_IOC_SETVERSION, FITRIM.
        for (const request of [0x40046602, 0x40106602, 0x40205820, 0x40087602, 0xc0185879])
          expect(await client.outcome(`fcntl.ioctl(f, ${request}, bytes(64))`), request.toString(16)).toMatch(
            /ENOTTY|25/,
          )
        expect(outcome(mount.path, ['lsattr', 'original'])).toEqual(
          outcome(`${filesystem.path}/native`, ['lsattr', 'original']),
        )
      })
    },
  )
