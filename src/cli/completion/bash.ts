/** Completion for bash 4.2 and newer; does without the bash-completion package. */
import { type CommandShape, flagsOf, type ProgramShape, quote, type Value } from './shape.ts'

/** Two tables, made from the shape, and a function that finds its place in the line and looks there. */
export function bashScript(program: ProgramShape): string {
  const { name } = program
  const all: readonly CommandShape[] = [{ ...program, name: '' }, ...program.commands]
  const flags = all.map((command) => `    ${quote(command.name)}) echo ${quote(flagsOf(command).join(' '))} ;;`)
  const values = all.flatMap((command) => [
    ...command.options.flatMap(({ short, long, value }) =>
      value === undefined
        ? []
        : `    ${[short, long].flatMap((flag) => (flag === undefined ? [] : quote(`${command.name} ${flag}`))).join(' | ')}) echo ${quote(source(value))} ;;`,
    ),
    ...command.arguments.map(
      ({ value, isVariadic }, i) =>
        `    ${quote(`${command.name} ${isVariadic ? '' : i + 1}`)}${isVariadic ? '[0-9]*' : ''}) echo ${quote(source(value))} ;;`,
    ),
  ])
  return `# bash completion for ${name}; made by: ${name} completion bash

# The options of a command ($1; empty: of ${name} itself).
_${name}_options() {
  case $1 in
${flags.join('\n')}
  esac
}

# What a value can be: of a command ($1) and an option, or the number of an argument ($2).
_${name}_value() {
  case "$1 $2" in
    ' 1') echo ${quote(`words ${program.commands.map((command) => command.name).join(' ')}`)} ;;
${values.join('\n')}
    *) return 1 ;;
  esac
}

_${name}_mounts() {
  local mountpoint type
  while read -r _ mountpoint type _; do
    [[ $type == fuse.samepage ]] && printf '%b\\n' "$mountpoint"
  done </proc/self/mounts
}

# What the shell will make of a word ($1) that is being typed; nothing in it is run.
_${name}_unquote() {
  local word=$1
  case $word in
    \\'*) word=\${word#?} ;;
    # read removes backslashes as the shell does.
    \\"*) IFS= read word <<<"\${word#?}" ;;
    *) IFS= read word <<<"$word" ;;
  esac
  printf '%s' "$word"
}

_${name}() {
  local current=\${COMP_WORDS[COMP_CWORD]} before=\${COMP_WORDS[COMP_CWORD - 1]}
  local command='' position=1 word value i
  # bash takes --option=value apart.
  if [[ $current == = ]]; then
    current=''
  elif [[ $before == = ]]; then
    before=\${COMP_WORDS[COMP_CWORD - 2]}
  fi
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    if [[ $word == -* ]]; then
      if [[ \${COMP_WORDS[i + 1]} == = ]]; then
        ((i += 2))
      elif _${name}_value "$command" "$word" >/dev/null; then
        ((i++))
      fi
    elif [[ -z $command ]]; then
      command=$word
    else
      ((position++))
    fi
  done

  COMPREPLY=()
  if [[ $before == -* ]] && value=$(_${name}_value "$command" "$before"); then
    :
  elif [[ $current == -* ]] || ! value=$(_${name}_value "$command" "$position"); then
    value="words $(_${name}_options "$command")"
  fi
  case $value in
    words\\ *) mapfile -t COMPREPLY < <(compgen -W "\${value#words }" -- "$current") ;;
    directory)
      compopt -o filenames 2>/dev/null
      mapfile -t COMPREPLY < <(compgen -d -- "$current")
      ;;
    file)
      compopt -o filenames 2>/dev/null
      mapfile -t COMPREPLY < <(compgen -f -- "$current")
      ;;
    mount)
      compopt -o filenames 2>/dev/null
      current=$(_${name}_unquote "$current")
      while read -r word; do
        [[ $word == "$current"* ]] && COMPREPLY+=("$word")
      done < <(_${name}_mounts)
      ;;
  esac
}

complete -F _${name} ${name}
`
}

function source(value: Value): string {
  return value.kind === 'words' ? `words ${value.words.join(' ')}` : value.kind
}
