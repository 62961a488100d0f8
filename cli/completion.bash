# Completion of microvm for bash. The options come from the program's own help.
# shellcheck shell=bash

_microvm() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}

	COMPREPLY=()
	if [ "$COMP_CWORD" -eq 1 ]; then
		mapfile -t COMPREPLY < <(compgen -W 'run exec ps kill doctor --help --version' -- "$cur")
		return
	fi
	case ${COMP_WORDS[1]} in
	doctor)
		mapfile -t COMPREPLY < <(compgen -W '--json' -- "$cur")
		return
		;;
	run) ;;
	*) return ;;
	esac
	case $prev in
	--kernel | --initrd | --rootfs | --disk | --config) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
	--modules) mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
	--hw) mapfile -t COMPREPLY < <(compgen -W 'acpi fdt cmdline' -- "$cur") ;;
	--console) mapfile -t COMPREPLY < <(compgen -W 'stdio file= none' -- "$cur") ;;
	--net) mapfile -t COMPREPLY < <(compgen -W 'tap= user none' -- "$cur") ;;
	--log-level) mapfile -t COMPREPLY < <(compgen -W 'error warn info debug' -- "$cur") ;;
	--log-format) mapfile -t COMPREPLY < <(compgen -W 'text json' -- "$cur") ;;
	--append | --cpus | --memory | --workers | --timeout) ;;
	*)
		mapfile -t COMPREPLY < <(compgen -W "$("${COMP_WORDS[0]}" run --help 2>/dev/null |
			sed -n 's/^  \(--[a-z-]*\).*/\1/p')" -- "$cur")
		;;
	esac
}
complete -o filenames -F _microvm microvm
