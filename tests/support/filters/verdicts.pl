# SPDX-License-Identifier: GPL-3.0-or-later
# What verdicts.py does, for a Perl worker. The words of the Subject choose.

sub filter_begin {
    my ($entity) = @_;
    return action_bounce("no thank you, 50% sure", "554", "5.7.9") if $Subject =~ /\breject\b/;
    return action_tempfail("come back later", "450", "4.7.9") if $Subject =~ /\btempfail\b/;
    return action_discard() if $Subject =~ /\bdiscard\b/;
    action_sm_quarantine("looks odd") if $Subject =~ /\bquarantine\b/;
    if ($Subject =~ /\bsleep\b/ && ! -e "/run/defang-slept") { sleep 3; }
}

sub filter {
    my ($entity, $name, $extension, $type) = @_;
    return action_drop_with_warning("$name was removed") if $name =~ /\.exe$/i;
    return action_accept();
}

sub filter_end {
    my ($entity) = @_;
    action_add_header("X-Filtered", "yes") if $Subject =~ /\bmark\b/;
}

1;
