/** `samepage inspect` as its users meet it: forms of output, exit status, trees with everything in them, other users. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import fs from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { O_NOATIME, O_RDONLY } from '../../src/linux/file.ts'
import { residentPages } from '../../src/linux/mincore.ts'
import { clone, noise, overwrite, PAGE, run, withFd, writeSynced } from '../support/files.ts'
import { inspect, inspectResident, SAMEPAGE, samepage } from '../support/inspect.ts'
import { type LoopFilesystem, loopFilesystem } from '../support/loopfs.ts'
import { describeWith, testWith } from '../support/requires.ts'

const ESCAPE = '\x1b'

describeWith(['root', 'loop', 'cachestat', 'xfs'], 'samepage inspect', () => {
  let filesystem: LoopFilesystem
  let tree = ''
  const at = (name: string) => path.join(tree, name)
  /** Pages of a file that are in memory. */
  const pagesOf = (name: string) =>
    withFd(at(name), (fd) => residentPages(fd, 0, 64 * PAGE, new Uint8Array(64)), O_RDONLY | O_NOATIME)

  beforeAll(async () => {
    filesystem = await loopFilesystem('xfs')
    fs.chmodSync(filesystem.path, 0o755)
    tree = path.join(filesystem.path, 'tree')
    fs.mkdirSync(at('sub'), { recursive: true })
    writeSynced(at('base.img'), noise(64 * PAGE, 1))
    clone(at('base.img'), at('sub/clone.img'))
    overwrite(at('sub/clone.img'), 10 * PAGE, noise(PAGE, 2))
    writeSynced(at('private.bin'), noise(16 * PAGE, 3))
    writeSynced(at('copy.bin'), noise(16 * PAGE, 3))
    writeSynced(at('zeros.bin'), Buffer.alloc(8 * PAGE))
    fs.writeFileSync(at('empty'), '')
    run('mkfifo', at('fifo'))
    run('mknod', at('device'), 'c', '1', '3')
    fs.symlinkSync('base.img', at('link'))
    fs.symlinkSync('/', at('link-to-everything'))
    run('sync', '-f', tree)
  })
  afterAll(async () => {
    await filesystem?.[Symbol.asyncDispose]()
  })

  test('prints aligned tables, and no escape codes unless on a terminal', () => {
    const { status, stdout, stderr } = samepage('inspect', tree)
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    expect(stdout).not.toContain(ESCAPE)
    const lines = stdout.split('\n')
    expect(lines[0]).toBe(tree)
    expect(lines[1]).toMatch(/^6 files in 2 directories · xfs · /)
    for (const title of ['By directory', 'By group of clones', 'By file', 'Most divided files'])
      expect(lines).toContain(title)
    // Right-aligned columns end where their headings do.
    const heading = lines.findIndex((line) => line.trimEnd().endsWith('GROUP'))
    const end = lines[heading]!.indexOf('CACHED') + 'CACHED'.length
    expect(lines[heading + 1]!.slice(0, end)).toMatch(/^ *\d.*(B|iB)$/)
    expect(lines[heading + 1]!).toContain('base.img and 1 more')
    expect(lines.some((line) => line !== line.trimEnd())).toBe(false)
  })

  testWith(['program:script'], 'on a terminal: colours, unless NO_COLOR is set; and progress', () => {
    const onTerminal = (environment: Record<string, string>) =>
      spawnSync(
        'script',
        ['--quiet', '--return', '--command', `${process.execPath} ${SAMEPAGE} inspect ${tree}`, '/dev/null'],
        {
          encoding: 'utf8',
          env: { PATH: process.env.PATH, TERM: 'xterm-256color', ...environment },
        },
      )
    const colored = onTerminal({})
    expect(colored.status).toBe(0)
    expect(colored.stdout).toContain(`${ESCAPE}[1mBy directory${ESCAPE}[22m`)
    expect(colored.stdout).toMatch(/walking .*files, .*files\/s/)
    const plain = onTerminal({ NO_COLOR: '1' })
    expect(plain.stdout).toContain('By directory')
    expect(plain.stdout).not.toContain(`${ESCAPE}[1m`)
  })

  test('--json is documented field by field', () => {
    const documented = fs.readFileSync(path.join(import.meta.dirname, '../../docs/inspect.md'), 'utf8')
    const fields = new Set<string>()
    const collect = (value: unknown): void => {
      if (Array.isArray(value)) value.forEach(collect)
      else if (typeof value === 'object' && value !== null) {
        for (const [name, inner] of Object.entries(value)) {
          fields.add(name)
          collect(inner)
        }
      }
    }
    const report = inspect('--content', '/proc/self', tree)
    collect(report)
    expect(fields.size).toBeGreaterThan(40)
    expect([...fields].filter((field) => !documented.includes(`\`${field}\``))).toEqual([])
    expect(report).toMatchObject({ format: 'samepage-inspect', version: 1, paths: ['/proc/self', tree] })
  })

  test('--csv has a row each for the whole, directories, groups and files; names are quoted', () => {
    const odd = at('odd, "name"')
    clone(at('base.img'), odd)
    try {
      const { stdout, status } = samepage('inspect', '--csv', tree)
      expect(status).toBe(0)
      const [head, ...rows] = stdout.trimEnd().split('\r\n')
      expect(head).toMatch(/^kind,path,files,pieces,size_bytes,/)
      expect(rows[0]).toMatch(/^total,,7,,/)
      expect(rows.map((row) => row.split(',')[0])).toEqual(
        expect.arrayContaining(['directory', 'group', 'file', 'divided']),
      )
      expect(stdout).toContain(`file,"${odd.replaceAll('"', '""')}",1,`)
    } finally {
      fs.rmSync(odd)
    }
  })

  test('--html writes one page that refers to nothing outside, with names escaped', () => {
    const page = path.join(filesystem.directory, 'report.html')
    const evil = at('<script>alert(1)')
    fs.mkdirSync(evil)
    try {
      clone(at('base.img'), path.join(evil, '"><img src=x>'))
      expect(samepage('inspect', '--html', page, tree).stdout).toContain('By directory')
      const html = fs.readFileSync(page, 'utf8')
      expect(html).toMatch(/^<!doctype html>/)
      expect(html).toContain('<meta name="generator" content="samepage inspect">')
      expect(html).toContain('class="tile')
      expect(html).not.toMatch(/<script>alert|<img/)
      expect(html).not.toMatch(/<[^>]*\s(src|href)=/)
      expect(html).not.toMatch(/https?:/)
      const areas = [...html.matchAll(/data-place="([^"]+)" data-depth="(\d+)"/g)]
      expect(areas.length).toBeGreaterThan(3)
    } finally {
      fs.rmSync(evil, { recursive: true })
    }
  })

  test('--watch looks again until it is stopped, one JSON object a line', async () => {
    const watching = spawn(process.execPath, [SAMEPAGE, 'inspect', '--watch', '100ms', '--json', tree])
    let output = ''
    watching.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text
      if (output.split('\n').length > 4) watching.kill('SIGINT')
    })
    await once(watching, 'close')
    const reports = output
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(reports.length).toBeGreaterThanOrEqual(4)
    expect(Date.parse(reports[1].startedAt) - Date.parse(reports[0].startedAt)).toBeGreaterThanOrEqual(100)
  })

  test('--watch --csv is one table: a heading, then rows that tell when', async () => {
    const watching = spawn(process.execPath, [SAMEPAGE, 'inspect', '--watch', '100ms', '--csv', '-n', '0', tree])
    let output = ''
    watching.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text
      if (output.split('\n').length > 4) watching.kill('SIGINT')
    })
    await once(watching, 'close')
    const [heading, ...rows] = output.trimEnd().split('\r\n')
    expect(heading!.split(',').at(-1)).toBe('started_at')
    expect(rows.length).toBeGreaterThanOrEqual(3)
    expect(rows.every((row) => row.startsWith('total,,6,,'))).toBe(true)
    const times = rows.map((row) => Date.parse(row.split(',').at(-1)!))
    expect(times.every((time, at) => at === 0 || time >= times[at - 1]! + 100)).toBe(true)
  })

  test('--html takes the place of no file that may be wanted', () => {
    // A glob of images, and the name of the page forgotten.
    const images = [at('base.img'), at('private.bin')]
    const before = fs.readFileSync(images[0]!)
    for (const wrong of [
      ['--html', ...images],
      ['--html', images[1]!, at('sub')],
    ]) {
      const { status, stdout, stderr } = samepage('inspect', ...wrong)
      expect({ status, stdout }).toEqual({ status: 2, stdout: '' })
      expect(stderr).toMatch(/^samepage: .* is there already and is no page of inspect: give --html another name.*\n$/)
    }
    expect(fs.readFileSync(images[0]!).equals(before)).toBe(true)
    // What is no file is written to; what the other report goes to is none.
    const toStdout = (rest: string) =>
      spawnSync('sh', ['-c', `${process.execPath} ${SAMEPAGE} inspect --html /dev/stdout ${tree} ${rest}`], {
        encoding: 'utf8',
      })
    expect(toStdout('| cat').stdout).toContain('\n<!doctype html>')
    const redirected = path.join(filesystem.directory, 'redirected')
    expect(toStdout(`> ${redirected}`).status).toBe(2)
    expect(fs.readFileSync(redirected, 'utf8')).toBe('')
  })

  test('--html is written into a file that is mounted, as a container has it', () => {
    const [page, outside] = [
      path.join(filesystem.directory, 'mounted.html'),
      path.join(filesystem.directory, 'outside'),
    ]
    fs.writeFileSync(page, '')
    fs.writeFileSync(outside, '')
    run('mount', '--bind', outside, page)
    try {
      // Over an empty file, then over a page.
      for (const rows of ['all', '0']) {
        expect(samepage('inspect', '-n', rows, '--html', page, tree)).toMatchObject({ status: 0, stderr: '' })
        expect(fs.readFileSync(outside, 'utf8')).toMatch(/^<!doctype html>.*<\/html>\n$/s)
        expect(fs.readFileSync(outside, 'utf8').includes('base.img')).toBe(rows === 'all')
      }
      fs.writeFileSync(outside, 'precious')
      expect(samepage('inspect', '--html', page, tree).status).toBe(2)
      expect(fs.readFileSync(outside, 'utf8')).toBe('precious')
    } finally {
      run('umount', page)
    }
    expect(fs.readFileSync(page, 'utf8')).toBe('')
  })

  test('exit status: 0 done, 1 a path cannot be read at all, 2 wrong use', () => {
    expect(samepage('inspect', at('sub')).status).toBe(0)
    const missing = samepage('inspect', '--json', at('nothing'), at('sub'))
    expect(missing.status).toBe(1)
    expect(missing.stderr).toBe(`samepage: ${at('nothing')}: no such file or directory\n`)
    expect(JSON.parse(missing.stdout)).toMatchObject({ failed: [{ error: 'ENOENT' }], totals: { files: 1 } })
    const nowhere = at('nothing/report.html')
    expect(samepage('inspect', '--html', nowhere, tree)).toEqual({
      ...{ status: 1, stdout: '', stderr: `samepage: ${nowhere}: no such file or directory\n` },
    })
    for (const wrong of [
      [],
      ['--top', 'x', tree],
      ['--sample', '0', tree],
      ['--json', '--csv', tree],
      ['--watch', 'x', tree],
      ['--watch', '0s', tree],
      ['--watch', '600h', tree],
      ['--frobnicate', tree],
    ]) {
      expect(samepage('inspect', ...wrong).status, wrong.join(' ')).toBe(2)
    }
  })

  test('whoever reads the output may stop early', () => {
    const { status, stderr } = spawnSync(
      'sh',
      ['-c', `${process.execPath} ${SAMEPAGE} inspect --json -n all ${tree} | head -c 10`],
      {
        encoding: 'utf8',
      },
    )
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  })

  test('changes nothing: no page comes in, none is written, no access time moves', () => {
    const names = ['base.img', 'sub/clone.img', 'private.bin']
    // An old access time is one that relatime would bring up to date.
    for (const name of names) fs.utimesSync(at(name), 1_000_000, 1_000_000)
    run('sync', '-f', tree)
    const state = () =>
      names.map((name) => {
        const { atimeMs, ctimeMs } = fs.statSync(at(name))
        return {
          atimeMs,
          ctimeMs,
          pages: pagesOf(name),
        }
      })
    let before: unknown
    inspectResident(
      { [at('base.img')]: [[3, 9]], [at('sub/clone.img')]: [], [at('private.bin')]: [[0, 4]] },
      [tree],
      () => {
        for (const name of names) fs.utimesSync(at(name), 1_000_000, 1_000_000)
        before = state()
      },
    )
    expect(state()).toEqual(before)
  })

  test('--content finds equal content without shared extents, and leaves the page cache as it was', () => {
    const residency = { [at('base.img')]: [[3, 9]], [at('private.bin')]: [[0, 16]], [at('copy.bin')]: [] } as const
    let clonePages = -1
    const report = inspectResident(residency, ['--content', tree], () => {
      clonePages = pagesOf('sub/clone.img')
    })
    expect(pagesOf('sub/clone.img')).toBe(clonePages)
    // base 64, the clone's one own page, 16 + 16, zeros 8; each once.
    expect(report.content).toMatchObject({
      ...{ readBytes: (64 + 1 + 16 + 16 + 8) * PAGE, zeroBytes: 8 * PAGE, equalBytes: 16 * PAGE },
      ...{ lowBytes: 16 * PAGE, highBytes: 16 * PAGE, confidence: 1, sampleShare: 1, failedFiles: 0 },
    })
    const sample = inspect('--sample', '50%', tree).content!
    expect(sample).toMatchObject({ readBytes: 105 * PAGE, zeroBytes: 8 * PAGE, confidence: 0.95, sampleShare: 0.5 })
    expect(sample.lowBytes).toBeLessThanOrEqual(16 * PAGE)
    expect(sample.highBytes).toBeGreaterThanOrEqual(16 * PAGE)
  })

  test('an ordinary user learns what he may: sizes and sharing of what he can open, no residency of others’ files', () => {
    fs.mkdirSync(at('secret'), { mode: 0o700 })
    fs.writeFileSync(at('unreadable'), 'x', { mode: 0o600 })
    try {
      const nobody = ['--reuid=65534', '--regid=65534', '--clear-groups']
      const { status, stdout } = spawnSync(
        'setpriv',
        [...nobody, process.execPath, SAMEPAGE, 'inspect', '--json', tree],
        {
          encoding: 'utf8',
          cwd: '/',
        },
      )
      expect(status).toBe(0)
      const report = JSON.parse(stdout)
      expect(report.unreadable).toEqual({
        count: 2,
        paths: expect.arrayContaining([
          { path: at('unreadable'), error: 'EACCES', why: 'permission denied' },
          { path: at('secret'), error: 'EACCES', why: 'permission denied' },
        ]),
      })
      expect(report.totals).toMatchObject({
        files: 6,
        sharedBytes: 63 * PAGE,
        potentialBytes: 63 * PAGE,
        cachedBytes: 0,
      })
      expect(report.unknown.residencyFiles).toBeGreaterThanOrEqual(5)
      expect(report.notes.join()).toContain('nobody tells how much is in memory')
      // People find the paths below the note that counts them.
      expect(report.notes.at(-1)).toContain('2 paths could not be read')
    } finally {
      fs.rmSync(at('secret'), { recursive: true })
      fs.rmSync(at('unreadable'))
    }
  })

  test('a first PATH that cannot be asked does not answer for the files beside it', () => {
    const report = inspect(at('fifo'), at('device'), at('sub'), at('base.img'))
    expect(report.filesystems).toMatchObject([{ kind: 'xfs', sharing: 'extents' }])
    expect(report.totals).toMatchObject({ files: 2, others: 2, sharedBytes: 63 * PAGE })

    fs.writeFileSync(at('unreadable'), 'x', { mode: 0o600 })
    try {
      const { status, stdout } = spawnSync(
        'setpriv',
        [
          ...['--reuid=65534', '--regid=65534', '--clear-groups', process.execPath, SAMEPAGE, 'inspect', '--json'],
          ...[at('unreadable'), at('sub'), at('base.img')],
        ],
        { encoding: 'utf8', cwd: '/' },
      )
      expect(status).toBe(1)
      const told = JSON.parse(stdout)
      expect(told.failed).toEqual([{ path: at('unreadable'), error: 'EACCES', why: 'permission denied' }])
      expect(told.filesystems).toMatchObject([{ kind: 'xfs', sharing: 'extents' }])
      expect(told.totals.sharedBytes).toBe(63 * PAGE)
    } finally {
      fs.rmSync(at('unreadable'))
    }
  })

  test('PATHs within others count once, and those that the walk from outside does not reach are walked themselves', async () => {
    const { totals } = inspect(tree)
    const rowsOf = (...paths: string[]) => inspect(...paths).directories.map((row) => row.path)
    expect(inspect(at('sub'), at('private.bin'), tree, at('sub/clone.img'), tree).totals).toEqual(totals)
    expect(rowsOf(at('private.bin'), tree).sort()).toEqual(rowsOf(tree).sort())
    expect(rowsOf(at('private.bin'), at('copy.bin'))).toEqual([tree])
    expect(inspect('--exclude', 'sub', tree, at('sub')).totals).toEqual(totals)

    await using other = await loopFilesystem('ext4', { size: 64 * 2 ** 20 })
    for (const name of ['disk', 'layers', 'layers/merged']) fs.mkdirSync(at(name))
    run('mount', '--bind', other.path, at('disk'))
    const layers = `lowerdir=${at('sub')}:${other.path}`
    run('mount', '-t', 'overlay', '-o', layers, 'overlay', at('layers/merged'))
    try {
      fs.writeFileSync(at('disk/file'), 'x')
      expect(inspect('-x', tree, at('disk')).totals.files).toBe(totals.files + 1)
      const { leftOut, totals: withView } = inspect('-x', tree, at('layers/merged'))
      expect(leftOut).toEqual([])
      // Of the overlay: the clone and the file of the other layer.
      expect(withView.files).toBe(totals.files + 2)
    } finally {
      run('umount', at('layers/merged'))
      run('umount', at('disk'))
      for (const name of ['layers', 'disk']) fs.rmSync(at(name), { recursive: true })
    }
  })

  test('a PATH is what the kernel takes it for: behind a link `..` is where that leads', () => {
    const places = path.join(filesystem.path, 'places')
    fs.mkdirSync(path.join(places, 'there/inner'), { recursive: true })
    fs.mkdirSync(path.join(places, 'here'))
    fs.symlinkSync('../there/inner', path.join(places, 'here/link'))
    fs.writeFileSync(path.join(places, 'there/file'), 'x')
    const report = inspect(`${places}//here/link/../`)
    expect(report.totals.files).toBe(1)
    expect(report.directories.map((row) => row.path)).toEqual([`${places}/here/link/..`])
    fs.rmSync(places, { recursive: true })
  })

  test('a file that is mounted on another one counts once, and not with --xdev if it lies on another file system', async () => {
    const { totals, content } = inspect('--content', tree)
    await using other = await loopFilesystem('ext4', { size: 64 * 2 ** 20 })
    const foreign = path.join(other.path, 'file')
    writeSynced(foreign, noise(PAGE, 9))
    const mountpoints = [at('0-before'), at('sub/after'), at('foreign')]
    for (const mountpoint of mountpoints) fs.writeFileSync(mountpoint, '')
    run('mount', '--bind', at('private.bin'), mountpoints[0]!)
    run('mount', '--bind', at('private.bin'), mountpoints[1]!)
    run('mount', '--bind', foreign, mountpoints[2]!)
    try {
      const report = inspect('--xdev', '--content', tree)
      expect(report.totals).toEqual({ ...totals, hardLinks: 2 })
      expect(report.content).toMatchObject({ readBytes: content!.readBytes, equalBytes: content!.equalBytes })
      expect(inspect(tree).totals.files).toBe(totals.files + 1)
    } finally {
      for (const mountpoint of mountpoints) {
        run('umount', mountpoint)
        fs.rmSync(mountpoint)
      }
    }
  })

  test('names that are no UTF-8 and names that would drive a terminal', () => {
    const strange = Buffer.concat([Buffer.from(`${tree}/`), Buffer.of(0xff, 0x1b, 0x5b, 0x32, 0x4a)])
    fs.copyFileSync(at('base.img'), strange, fs.constants.COPYFILE_FICLONE_FORCE)
    try {
      const { stdout } = samepage('inspect', tree)
      expect(stdout).not.toContain(ESCAPE)
      expect(stdout).toContain('\\xff\\x1b[2J')
      expect(inspect(tree).files.map((row) => path.basename(row.path))).toContain('\udcff\x1b[2J')
    } finally {
      fs.rmSync(strange)
    }
  })

  test('stays on the file system with --xdev; leaves out what is no disk', async () => {
    await using other = await loopFilesystem('ext4', { size: 64 * 2 ** 20 })
    fs.mkdirSync(at('mounts/other'), { recursive: true })
    fs.mkdirSync(at('mounts/memory'))
    run('mount', '--bind', other.path, at('mounts/other'))
    run('mount', '-t', 'tmpfs', 'samepage-test', at('mounts/memory'))
    try {
      for (const name of ['other/file', 'memory/file']) fs.writeFileSync(at(`mounts/${name}`), Buffer.alloc(4 * PAGE))
      run('sync', '-f', other.path)
      const report = inspect(tree)
      expect(report.totals.files).toBe(7)
      expect(report.filesystems.map(({ kind, sharing }) => [kind, sharing]).sort()).toEqual([
        ['ext4', 'none'],
        ['xfs', 'extents'],
      ])
      expect(report.leftOut).toEqual([{ path: at('mounts/memory'), kind: 'tmpfs', why: expect.any(String) }])
      const staying = inspect('--xdev', tree)
      expect(staying.totals.files).toBe(6)
      expect(staying.filesystems.map(({ kind }) => kind)).not.toContain('ext4')
    } finally {
      run('umount', at('mounts/other'))
      run('umount', at('mounts/memory'))
      fs.rmSync(at('mounts'), { recursive: true })
    }
  })
})
