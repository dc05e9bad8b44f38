/** The command line as completion sees it, read from commander's own tree: what can stand where. */
import type { Argument, Command, Option } from 'commander'

/** What can be offered for a value. */
export type Value =
  | { readonly kind: 'words'; readonly words: readonly string[] }
  | { readonly kind: 'directory' }
  | { readonly kind: 'file' }
  /** The mountpoint of a Samepage mount that exists. */
  | { readonly kind: 'mount' }
  /** A size, a count, a time: nothing to offer. */
  | { readonly kind: 'other' }

export interface OptionShape {
  readonly short: string | undefined
  readonly long: string | undefined
  readonly summary: string
  /** undefined: the option takes no value. */
  readonly value: Value | undefined
}

export interface ArgumentShape {
  readonly name: string
  readonly value: Value
  readonly isVariadic: boolean
}

export interface CommandShape {
  readonly name: string
  readonly summary: string
  readonly options: readonly OptionShape[]
  readonly arguments: readonly ArgumentShape[]
}

export interface ProgramShape extends CommandShape {
  readonly commands: readonly CommandShape[]
}

/** Reads the shape of a program with one level of commands. Hidden options and commands are left out. */
export function shapeOf(program: Command): ProgramShape {
  const commands = program.createHelp().visibleCommands(program)
  const names = commands.map((command) => command.name())
  return {
    ...commandShape(program),
    arguments: [],
    commands: commands.map((command) => {
      const shape = commandShape(command)
      if (command.name() !== 'help') return shape
      const isVariadic = false
      return { ...shape, arguments: [{ name: 'command', value: { kind: 'words', words: names }, isVariadic }] }
    }),
  }
}

function commandShape(command: Command): CommandShape {
  const help = command.createHelp()
  return {
    name: command.name(),
    summary: help.subcommandDescription(command),
    options: help.visibleOptions(command).map(optionShape),
    arguments: command.registeredArguments.map((argument, i) => argumentShape(argument, i === 0)),
  }
}

function optionShape(option: Option): OptionShape {
  const takesValue = option.required || option.optional
  // Commander keeps a value's name in the flags only: `--html <file>`.
  const name = /[<[]([^>\]]+)[>\]]/.exec(option.flags)?.[1] ?? ''
  return {
    short: option.short,
    long: option.long,
    summary: option.description,
    value: takesValue ? valueNamed(name, option.argChoices) : undefined,
  }
}

function argumentShape(argument: Argument, isFirst: boolean): ArgumentShape {
  // A command that begins with a mountpoint speaks of a mount that exists; after a source it is a directory to mount on.
  const value: Value =
    argument.name() === 'mountpoint' && isFirst ? { kind: 'mount' } : valueNamed(argument.name(), argument.argChoices)
  return { name: argument.name(), value, isVariadic: argument.variadic }
}

/** By its name, as the help shows it: `<dir>` is a directory. */
function valueNamed(name: string, choices: readonly string[] | undefined): Value {
  if (choices !== undefined) return { kind: 'words', words: choices }
  if (/^(dir|directory|source|mountpoint)s?\b/i.test(name)) return { kind: 'directory' }
  if (/^(file|path)s?\b|\.\w+$/i.test(name)) return { kind: 'file' }
  return { kind: 'other' }
}

/** All spellings of the command's options. */
export function flagsOf(command: CommandShape): string[] {
  return command.options.flatMap(({ short, long }) => [short, long].filter((flag) => flag !== undefined))
}

/** A text as one word of a POSIX shell. */
export function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`
}
