/**
 * `samepage completion`: a script that teaches a shell to complete the command line.
 *
 * The script is made once, from commander's own tree, and needs no Samepage when it completes: no process is started for each
 * press of the key, and nothing that was typed is ever run.
 */
import { Argument, Command } from 'commander'
import { bashScript } from './completion/bash.ts'
import { fishScript } from './completion/fish.ts'
import { type ProgramShape, shapeOf } from './completion/shape.ts'
import { zshScript } from './completion/zsh.ts'

const SCRIPTS = { bash: bashScript, zsh: zshScript, fish: fishScript } as const satisfies Record<
  string,
  (program: ProgramShape) => string
>

/** `program` gives the whole command, this one included. */
export function completionCommand(program: () => Command): Command {
  return new Command('completion')
    .summary('print a script that completes the command line')
    .description('Prints a script for SHELL that completes commands, options, directories and mounts.')
    .addArgument(new Argument('<shell>').choices(Object.keys(SCRIPTS)))
    .addHelpText(
      'after',
      `
For you:
  bash   echo 'source <(samepage completion bash)' >> ~/.bashrc
  zsh    echo 'source <(samepage completion zsh)' >> ~/.zshrc        (after compinit)
  fish   samepage completion fish > ~/.config/fish/completions/samepage.fish

For everybody, as root:
  bash   samepage completion bash > /usr/share/bash-completion/completions/samepage
  zsh    samepage completion zsh > /usr/share/zsh/vendor-completions/_samepage
  fish   samepage completion fish > /usr/share/fish/vendor_completions.d/samepage.fish

Print it again after an update of Samepage.`,
    )
    .action((shell: keyof typeof SCRIPTS) => {
      process.stdout.write(SCRIPTS[shell](shapeOf(program())))
    })
}
