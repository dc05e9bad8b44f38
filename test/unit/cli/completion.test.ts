import { Argument, Command, Option } from 'commander'
import { describe, expect, test } from 'vitest'
import { bashScript } from '../../../src/cli/completion/bash.ts'
import { fishScript } from '../../../src/cli/completion/fish.ts'
import { flagsOf, quote, shapeOf } from '../../../src/cli/completion/shape.ts'
import { zshScript } from '../../../src/cli/completion/zsh.ts'

function program(): Command {
  const root = new Command('tool').version('1.0')
  root
    .command('mount')
    .summary("a mount that's [new]: fine")
    .argument('<source>')
    .argument('[mountpoint]')
    .addOption(new Option('--domain <what>', 'whose').choices(['uid', 'dir']))
    .option('-d, --daemon', 'in the background')
    .option('--log <file>', 'where to')
    .option('--on <dir>', 'where')
    .option('--size <bytes>', 'how much')
    .addOption(new Option('--secret', 'not for people').hideHelp())
  root.command('umount').argument('<mountpoint>')
  root.command('inspect').argument('<paths...>')
  root.command('shell').addArgument(new Argument('<name>').choices(['bash', 'zsh']))
  root.command('inner', { hidden: true })
  return root
}

describe('the shape of a command line', () => {
  const shape = shapeOf(program())
  const commandOf = (name: string) => shape.commands.find((command) => command.name === name)

  test('has the commands and options that the help shows', () => {
    expect(shape.commands.map(({ name }) => name)).toEqual(['mount', 'umount', 'inspect', 'shell', 'help'])
    expect(flagsOf(shape)).toEqual(expect.arrayContaining(['-V', '--version', '-h', '--help']))
    expect(flagsOf(commandOf('mount')!)).toEqual(expect.arrayContaining(['-d', '--daemon', '--domain', '--log']))
    expect(flagsOf(commandOf('mount')!)).not.toContain('--secret')
  })

  test('knows what a value can be', () => {
    const values = Object.fromEntries(commandOf('mount')!.options.map(({ long, value }) => [long, value]))
    expect(values).toMatchObject({
      '--daemon': undefined,
      '--domain': { kind: 'words', words: ['uid', 'dir'] },
      '--log': { kind: 'file' },
      '--on': { kind: 'directory' },
      '--size': { kind: 'other' },
    })
    const argumentsOf = (name: string) => commandOf(name)!.arguments.map(({ value }) => value)
    expect(argumentsOf('mount')).toEqual([{ kind: 'directory' }, { kind: 'directory' }])
    // Alone it is a mount that exists.
    expect(argumentsOf('umount')).toEqual([{ kind: 'mount' }])
    expect(argumentsOf('shell')).toEqual([{ kind: 'words', words: ['bash', 'zsh'] }])
    expect(commandOf('inspect')!.arguments).toMatchObject([{ value: { kind: 'file' }, isVariadic: true }])
    expect(argumentsOf('help')).toMatchObject([
      { kind: 'words', words: ['mount', 'umount', 'inspect', 'shell', 'help'] },
    ])
  })

  test.each([
    ['bash', bashScript],
    ['zsh', zshScript],
    ['fish', fishScript],
  ])('becomes a script for %s that names everything', (_, script) => {
    const text = script(shape)
    for (const word of ['mount', 'umount', 'daemon', 'domain', 'uid', 'dir', 'zsh']) expect(text).toContain(word)
    expect(text).not.toContain('secret')
  })
})

test.each([
  ['plain', `'plain'`],
  [`it's`, `'it'\\''s'`],
  ['$(rm -rf /) `x` "y"', `'$(rm -rf /) \`x\` "y"'`],
])('quotes %j for a shell', (text, quoted) => expect(quote(text)).toBe(quoted))
