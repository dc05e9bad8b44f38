/** The `samepage` command's words. Each subcommand is a file of its own; what they need is loaded when one is run. */
import { Command } from 'commander'
import { printableName } from '../inspect/names.ts'
import { version } from '../util/version.ts'
import { completionCommand } from './completion.ts'
import { dedupeCommand } from './dedupe.ts'
import { demoCommand } from './demo.ts'
import { doctorCommand } from './doctor.ts'
import { exclusiveCommand } from './exclusive.ts'
import { inspectCommand } from './inspect.ts'
import { mountCommand } from './mount.ts'
import { endWithStdout, report } from './output.ts'
import { statusCommand } from './status.ts'
import { umountCommand } from './umount.ts'

function program(): Command {
  const root = new Command('samepage')
    .description('A page cache for Linux in which files that share storage share memory.')
    .version(version)
    .showHelpAfterError('(samepage --help shows what there is)')
    .addHelpText(
      'after',
      `
Start here:
  samepage inspect /srv/images               what do my clones cost in memory now?
  samepage doctor /srv/images                what will work on this machine?
  samepage mount /srv/images /mnt/images     read through the mount: clones share memory
  samepage status                            what has it saved?
  samepage umount /mnt/images

Exit status: 0 done · 1 failed · 2 wrong use · others are listed with each command.`,
    )
  for (const command of [
    mountCommand(),
    umountCommand(),
    statusCommand(),
    exclusiveCommand(),
    demoCommand(),
    inspectCommand(),
    dedupeCommand(),
    doctorCommand(),
    completionCommand(program),
    helpCommand(root),
  ])
    root.addCommand(command)
  for (const command of [root, ...root.commands])
    command.exitOverride().configureHelp({ sortOptions: true }).configureOutput({ outputError })
  // Their lines are broken where the source's are; what is shown is broken where the terminal ends.
  for (const command of root.commands) command.description(command.description().replaceAll(/(?<!\n)\n(?!\n)/g, ' '))
  for (const command of root.commands)
    command.showHelpAfterError(`(samepage ${command.name()} --help shows what there is)`)
  return root
}

/** In place of commander's own, which takes any word for a command. */
function helpCommand(root: Command): Command {
  return new Command('help')
    .description('display help for command')
    .argument('[command]')
    .action((name: string | undefined, _: object, self: Command) => {
      const command = name === undefined ? root : root.commands.find((each) => each.name() === name)
      if (command === undefined) return self.error(`error: unknown command '${name}'`)
      return command.help()
    })
}

/** Commander's complaints begin like all others. There may be names in them, and lines: a second one asks what was meant. */
function outputError(text: string, write: (text: string) => void): void {
  const lines = text.replace(/^error: /, 'samepage: ').split('\n')
  write(lines.map(printableName).join('\n'))
}

/** Runs what the command line asks for, and sets the exit status. */
export async function run(): Promise<void> {
  endWithStdout()
  try {
    await program().parseAsync()
  } catch (error) {
    process.exitCode = report(error)
  }
}
