/** What the shells offer when the tabulator is pressed, asked of the real shells. */
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { loopFilesystem } from '../support/loopfs.ts'
import { mounted } from '../support/mounted.ts'
import { describeWith } from '../support/requires.ts'
import { samepage } from '../support/samepage.ts'

let directory: string

beforeAll(() => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), 'samepage-completion-'))
  fs.mkdirSync(`${directory}/my images`)
  fs.mkdirSync(`${directory}/other`)
  fs.writeFileSync(`${directory}/file`, '')
  for (const shell of ['bash', 'zsh', 'fish']) {
    const { status, stdout } = samepage(['completion', shell])
    expect(status).toBe(0)
    fs.writeFileSync(`${directory}/script.${shell}`, stdout)
  }
})
afterAll(() => fs.rmSync(directory, { recursive: true }))

/** Words before the cursor (the last one is being completed) → what must be offered there, and must not be. */
const CASES: readonly [words: string[], offered: string[], not: string[]][] = [
  [[''], ['mount', 'umount', 'status', 'inspect', 'doctor', 'completion', 'help'], ['--daemon']],
  [['mo'], ['mount'], ['umount']],
  [
    ['mount', '--d'],
    ['--daemon', '--domain'],
    ['--json', '--cross'],
  ],
  [
    ['mount', '--domain', ''],
    ['none', 'uid', 'dir'],
    ['my images', 'file'],
  ],
  [['mount', 'm'], ['my images'], ['other', 'file']],
  [['mount', '--metrics', '127.0.0.1:9177', 'o'], ['other'], ['file']],
  [['mount', '-d', 'other', 'm'], ['my images'], ['file']],
  [['completion', ''], ['bash', 'zsh', 'fish'], ['file']],
  [['help', 'u'], ['umount'], ['mount']],
  [['inspect', 'other', 'f'], ['file'], ['my images']],
]

/** What bash offers: our function is called as bash calls it. */
function bash(words: readonly string[]): string[] {
  const script = `
    source script.bash
    COMP_WORDS=(samepage "$@") COMP_CWORD=$#
    _samepage
    for word in "\${COMPREPLY[@]}"; do echo "$word"; done`
  return lines('bash', ['--norc', '-u', '-c', script, 'bash', ...words])
}

function fish(words: readonly string[]): string[] {
  const line = `samepage ${words.join(' ')}`
  return lines('fish', ['--no-config', '-c', 'source script.fish; complete -C $argv[1]', line]).map((offer) =>
    offer.replace(/\t.*/, '').replace(/\/$/, ''),
  )
}

function lines(program: string, args: string[]): string[] {
  const output = execFileSync(program, args, {
    cwd: directory,
    encoding: 'utf8',
    env: { ...process.env, HOME: directory },
  })
  return output.split('\n').filter((line) => line !== '')
}

describeWith(['program:bash'], 'in bash', () => {
  test.each(CASES)('samepage %j offers %j, not %j', (words, offered, not) => {
    const offers = bash(words)
    expect(offers).toEqual(expect.arrayContaining(offered))
    for (const word of not) expect(offers).not.toContain(word)
  })

  test('--option=value, which bash takes apart, is completed too', () => {
    expect(bash(['mount', '--domain', '=', 'u'])).toEqual(['uid'])
    expect(bash(['mount', '--domain', '='])).toEqual(['none', 'uid', 'dir'])
    expect(bash(['mount', '--domain', '=', 'uid', 'o'])).toEqual(['other'])
  })

  test('what was typed is never run', () => {
    expect(bash(['mount', '$(touch ran)', ''])).toContain('other')
    expect(bash(['mount', '--domain', '`touch ran`'])).toEqual([])
    expect(fs.existsSync(`${directory}/ran`)).toBe(false)
  })
})

describeWith(['program:fish'], 'in fish', () => {
  test.each(CASES)('samepage %j offers %j, not %j', (words, offered, not) => {
    const offers = fish(words)
    expect(offers).toEqual(expect.arrayContaining(offered))
    for (const word of not) expect(offers).not.toContain(word)
  })
})

describeWith(['program:zsh'], 'in zsh', () => {
  /** What a line becomes, in an interactive zsh on a terminal of its own. */
  function completed(line: string): string {
    const script = `
      zmodload zsh/zpty
      zpty shell zsh -f -i
      zpty -w shell 'PS1=; unsetopt zle_bracketed_paste 2>/dev/null; autoload -Uz compinit; compinit -u -D; source ./script.zsh'
      zpty -w shell 'bindkey "^I" complete-word; show() { print -r -- "<<$BUFFER>>" }; zle -N show; bindkey "^X" show; echo re''ady'
      zpty -r shell output '*ready*'
      zpty -n -w shell $'${line}\\t\\x18'
      zpty -r shell output '*<<*>>*'
      print -r -- "$output"`
    const output = execFileSync('zsh', ['-f', '-c', script], {
      cwd: directory,
      encoding: 'utf8',
      timeout: 30_000,
      env: { ...process.env, HOME: directory, TERM: 'dumb' },
    })
    return /<<(.*?)>>/s.exec(output)?.[1]?.trim() ?? output
  }

  test.each([
    ['samepage mo', 'samepage mount'],
    ['samepage mount --domain u', 'samepage mount --domain uid'],
    ['samepage mount my', 'samepage mount my\\ images/'],
    ['samepage mount other my', 'samepage mount other my\\ images/'],
    ['samepage completion f', 'samepage completion fish'],
    ['samepage mount --no-h', 'samepage mount --no-homes'],
  ])('%s becomes %s', (line, result) => expect(completed(line)).toBe(result))
})

describeWith(
  ['root', 'loop', 'xfs', 'fuse', 'program:bash', 'program:fish'],
  'the mountpoints that umount and status take',
  () => {
    test('are those of Samepage, spaces included', async () => {
      await using xfs = await loopFilesystem('xfs')
      const mountpoint = `${xfs.directory}/my mount`
      fs.mkdirSync(mountpoint)
      await using _ = await mounted(xfs.path, { at: mountpoint })
      for (const command of ['umount', 'status']) {
        for (const shell of [bash, fish]) {
          const offers = shell([command, ''])
          expect(offers).toContain(mountpoint)
          expect(offers).not.toContain(xfs.path)
          expect(offers).not.toContain('other')
        }
        // A word reaches the function as it was typed.
        const half = mountpoint.slice(0, -2)
        for (const typed of [half.replaceAll(' ', '\\ '), `"${half}`, `'${half}`])
          expect(bash([command, typed])).toEqual([mountpoint])
        expect(bash([command, half.replaceAll(' ', '\\ \\ ')])).toEqual([])
      }
    })
  },
)
