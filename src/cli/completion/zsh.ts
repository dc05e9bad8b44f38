/** Completion for zsh: specifications for its own `_arguments`. */
import type { ArgumentShape, CommandShape, OptionShape, ProgramShape, Value } from './shape.ts'
import { quote } from './shape.ts'

export function zshScript(program: ProgramShape): string {
  const { name } = program
  const commands = program.commands.map((command) => quote(`${command.name}:${command.summary}`))
  const cases = program.commands.map(
    (command) => `        ${command.name})
          _arguments -s -S ${specifications(name, command).join(' \\\n            ')}
          ;;`,
  )
  return `#compdef ${name}
# zsh completion for ${name}; made by: ${name} completion zsh

_${name}_mounts() {
  local mountpoint type rest
  local -a mountpoints
  while read -r rest mountpoint type rest; do
    [[ $type == fuse.samepage ]] && mountpoints+=("\${(g::)mountpoint}")
  done </proc/self/mounts
  compadd -f -a mountpoints
}

_${name}() {
  local context state state_descr line
  typeset -A opt_args
  _arguments -C ${[...program.options.flatMap(optionSpecification.bind(undefined, name)), quote('1: :->command'), quote('*:: :->arguments')].join(' \\\n    ')}
  case $state in
    command)
      local -a commands=(
        ${commands.join('\n        ')}
      )
      _describe -t commands command commands
      ;;
    arguments)
      case $line[1] in
${cases.join('\n')}
      esac
      ;;
  esac
}

if [[ $funcstack[1] == _${name} ]]; then
  _${name} "$@"
else
  compdef _${name} ${name}
fi
`
}

function specifications(name: string, command: CommandShape): string[] {
  return [
    ...command.options.flatMap((option) => optionSpecification(name, option)),
    ...command.arguments.map((argument, i) => argumentSpecification(name, argument, i)),
  ]
}

function optionSpecification(name: string, { short, long, summary, value }: OptionShape): string[] {
  const flags = [short, long].filter((flag) => flag !== undefined)
  const rest = `[${summary.replace(/[[\]\\]/g, '\\$&')}]${value === undefined ? '' : `:value:${action(name, value)}`}`
  // Each spelling excludes the others; a long one may have its value after "=".
  const excluded = flags.length > 1 ? `(${flags.join(' ')})` : ''
  return flags.map((flag) => {
    const spelling = value === undefined ? flag : `${flag}${flag.startsWith('--') ? '=' : '+'}`
    return quote(`${excluded}${spelling}${rest}`)
  })
}

function argumentSpecification(name: string, argument: ArgumentShape, i: number): string {
  return quote(`${argument.isVariadic ? '*' : i + 1}:${argument.name}:${action(name, argument.value)}`)
}

function action(name: string, value: Value): string {
  switch (value.kind) {
    case 'words':
      return `(${value.words.join(' ')})`
    case 'directory':
      return '_directories'
    case 'file':
      return '_files'
    case 'mount':
      return `_${name}_mounts`
    case 'other':
      return ' '
  }
}
