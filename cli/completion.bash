# Completion of microvm for bash. The options come from the program's own help.
# shellcheck shell=bash

_microvm_machines() {
	"${COMP_WORDS[0]}" ps -q 2>/dev/null
}

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
	ps)
		mapfile -t COMPREPLY < <(compgen -W '--json -q' -- "$cur")
		return
		;;
	kill)
		case $prev in
		-s) mapfile -t COMPREPLY < <(compgen -W 'HUP INT QUIT TERM USR1 USR2 KILL' -- "$cur") ;;
		*) mapfile -t COMPREPLY < <(compgen -W "-s $(_microvm_machines)" -- "$cur") ;;
		esac
		return
		;;
	run | exec) ;;
	*) return ;;
	esac
	# Behind -- it is the guest's, and no completion of ours.
	case " ${COMP_WORDS[*]:0:COMP_CWORD} " in
	*' -- '*) return ;;
	esac
	case $prev in
	--kernel | --initrd | --rootfs | --disk | --config | --volume | -v | --vsock) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
	--modules) mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
	--hw) mapfile -t COMPREPLY < <(compgen -W 'acpi fdt cmdline' -- "$cur") ;;
	--console) mapfile -t COMPREPLY < <(compgen -W 'stdio file= none' -- "$cur") ;;
	--net) mapfile -t COMPREPLY < <(compgen -W 'tap= user none' -- "$cur") ;;
	--cache) mapfile -t COMPREPLY < <(compgen -W 'auto none always' -- "$cur") ;;
	--image) mapfile -t COMPREPLY < <(compgen -W "$(podman image ls --format '{{.Repository}}:{{.Tag}}' 2>/dev/null)" -- "$cur") ;;
	--log-level) mapfile -t COMPREPLY < <(compgen -W 'error warn info debug' -- "$cur") ;;
	--log-format) mapfile -t COMPREPLY < <(compgen -W 'text json' -- "$cur") ;;
	--append | --cpus | --memory | --workers | --timeout | --grace | --name | --hostname | --publish | -p) ;;
	--tmpfs | --env | -e | --workdir | -w | --user | -u) ;;
	*)
		mapfile -t COMPREPLY < <(compgen -W "$("${COMP_WORDS[0]}" "${COMP_WORDS[1]}" --help 2>/dev/null |
			sed -n 's/^  \(--[a-z-]*\).*/\1/p') $([ "${COMP_WORDS[1]}" != exec ] || _microvm_machines)" -- "$cur")
		;;
	esac
}
complete -o filenames -F _microvm microvm
