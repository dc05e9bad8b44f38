/** Completion for fish: one `complete` line for each thing that can be offered. */
import type { OptionShape, ProgramShape, Value } from './shape.ts'

export function fishScript(program: ProgramShape): string {
  const { name, commands } = program
  const names = commands.map((command) => command.name).join(' ')
  const beforeCommand = `not __fish_seen_subcommand_from ${names}`
  const line = (condition: string, rest: string) => `complete -c ${name} -n ${quote(condition)} ${rest}`
  const lines = [
    ...program.options.map((option) => line(beforeCommand, optionOf(name, option))),
    ...commands.map((command) => line(beforeCommand, `-a ${command.name} -d ${quote(command.summary)}`)),
    ...commands.flatMap((command) => {
      // The first word after the program's name that is no option.
      const condition = `__${name}_command_is ${command.name}`
      const positions = command.arguments.map(({ value, isVariadic }, i) =>
        line(`${condition}; and __${name}_position ${isVariadic ? '-ge' : '-eq'} ${i + 1}`, offer(name, value)),
      )
      return [...command.options.map((option) => line(condition, optionOf(name, option))), ...positions]
    }),
  ]
  const takingValue = commands.map((command) => {
    const flags = command.options.flatMap(({ short, long, value }) => (value === undefined ? [] : [short, long]))
    return `        case ${command.name}
            set taking ${flags.filter((flag) => flag !== undefined).join(' ')}`
  })
  return `# fish completion for ${name}; made by: ${name} completion fish

function __${name}_mounts
    string match -r '^\\S+ \\S+ fuse\\.samepage ' </proc/self/mounts | while read -l _source mountpoint _rest
        printf '%b\\n' $mountpoint
    end
end

# Words of the line before the cursor that are neither options nor their values; the first is the command.
function __${name}_words
    set -l words (commandline -opc)[2..]
    set -l command
    set -l taking
    set -l skip no
    for word in $words
        if test $skip = yes
            set skip no
            continue
        end
        if string match -q -- '-*' $word
            contains -- $word $taking; and set skip yes
            continue
        end
        echo $word
        test -n "$command"; and continue
        set command $word
        switch $command
${takingValue.map((text) => text.replace(/^/gm, '    ')).join('\n')}
        end
    end
end

function __${name}_command_is
    set -l words (__${name}_words)
    test "$words[1]" = $argv[1]
end

# Compares the number of the argument at the cursor.
function __${name}_position
    test (count (__${name}_words)) $argv
end

complete -c ${name} -f
${lines.join('\n')}
`
}

function optionOf(name: string, { short, long, summary, value }: OptionShape): string {
  return [
    ...(short === undefined ? [] : [`-s ${short.slice(1)}`]),
    ...(long === undefined ? [] : [`-l ${long.slice(2)}`]),
    ...(value === undefined ? [] : ['-r', offer(name, value)]),
    `-d ${quote(summary)}`,
  ].join(' ')
}

function offer(name: string, value: Value): string {
  switch (value.kind) {
    case 'words':
      return `-f -a ${quote(value.words.join(' '))}`
    case 'directory':
      return `-f -a '(__fish_complete_directories (commandline -ct) directory)'`
    case 'file':
      return '-F'
    case 'mount':
      return `-f -a '(__${name}_mounts)'`
    case 'other':
      return '-f'
  }
}

/** A text as one word of fish, which knows two escapes within single quotes. */
function quote(text: string): string {
  return `'${text.replace(/['\\]/g, '\\$&')}'`
}
